/* kvquant.c - KVQuant (Hooper, Kim, Mohammadzadeh, Mahoney, Shao, Keutzer, Gholami; arXiv 2401.18079): non-uniform codes fitted
 * to calibration data, keys by channel, values by token, and the largest 1 % of a vector kept dense-and-sparse.
 * Idea: a channel of keys has the same distribution in every token, so its centroids can be found ahead (section 3.1, 3.3) and
 * cost nothing per token; a token of values brings its own range, and one set of centroids serves all ranges; what still sticks
 * out is stored apart (section 3.4), so that it stretches no range.
 *
 *   by channel   x_j ~ c_j[idx_j], c_j fitted to channel j
 *   by token     x_j ~ mid + half * c[idx_j], mid and half range of the token in half precision, c fitted to (x - mid) / half
 *
 * This reading: a channel has a codebook of its own, where the paper scales one per layer to each channel: no worse, and only
 * state. Codebooks are fitted with plain weights: the paper's Fisher information needs a model's gradients. Codes have a fixed
 * size, so outliers do too: ceil(d / 100) slots of a vector hold its coordinates farthest from the mean - by channel in the
 * channel's trained standard deviations, by token in plain distance - as half and index. Keys before RoPE, as in the paper, are
 * the policy's affair.
 *
 * Cost: b bits per coordinate, 32 per token of values, 24 (32 beyond 256 coordinates) per slot: all counted. One table lookup per
 * coordinate to decode; scores and mixes go by decode.
 *
 * Where it loses: by channel it is as good as its calibration, and keys after RoPE have no fixed distribution by channel;
 * train_min is 8 vectors per centroid, too few for the tails at high bits; on data without outliers a slot's 24 bits are half a
 * bit of 48 coordinates; by token the range of 128 coordinates costs a quarter bit and wastes codes on its ends.
 *
 * Defined: outliers saturate at 65504. NaN and infinity go to slots first and decode to NaN; where slots run out, they take the
 * code of an outermost centroid by channel, and make the whole token NaN by token. Equal distances: the lower coordinate is the
 * outlier. A channel that was constant in training makes an outlier of whatever differs. Untrained, all decodes to 0 or mid,
 * outliers apart. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/kmeans.h"
#include "algorithms/shared/parts.h"
#include "algorithms/shared/training.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BITS, AXIS, OUTLIERS };
enum { AXIS_AUTO, AXIS_CHANNEL, AXIS_TOKEN };
enum { PER_CENTROID = 8 };

/* Behind it: mean [d] and 1 / deviation [d] of channels, then the books, each centroids [k] and thresholds [k]: one per channel, or
 * one for all. */
typedef struct { uint32_t d, b, k, by_channel, slots, index_bytes; } kvquant;

static size_t books(const kvquant *s) { return s->by_channel ? s->d : 1; }
static size_t floats(const kvquant *s) { return 2 * (size_t)s->d + books(s) * 2 * s->k; }

/* A parameter of the state, which train writes and ops read. */
static float *mean_of(const kvquant *s) { return (float *)(s + 1); }
static float *inverse_of(const kvquant *s) { return mean_of(s) + s->d; }
static float *book_of(const kvquant *s, size_t j) { return inverse_of(s) + s->d + (s->by_channel ? j : 0) * 2 * s->k; }

/* One vector's code: by token its range; codes; slots of index and half, in ascending order. */
typedef struct { uint16_t mid, half; } range;
static size_t range_bytes(const kvquant *s) { return s->by_channel ? 0 : sizeof(range); }
static size_t slot_bytes(const kvquant *s) { return s->index_bytes + sizeof(uint16_t); }
static size_t slots_at(const kvquant *s) { return range_bytes(s) + bits_bytes(s->d, s->b); }
static size_t code_bytes(const kvquant *s) { return slots_at(s) + s->slots * slot_bytes(s); }

static kvquant header_of(const kvant_shape *shape, const kvant_args *args)
{
    uint32_t b = (uint32_t)args->v[BITS], percent = (uint32_t)args->v[OUTLIERS];
    bool by_channel = args->v[AXIS] == AXIS_CHANNEL || (args->v[AXIS] == AXIS_AUTO && shape->side == KVANT_KEY);
    return (kvquant) { .d = shape->dim, .b = b, .k = 1u << b, .by_channel = by_channel,
                       .slots = (shape->dim * percent + 99) / 100, .index_bytes = shape->dim <= 256 ? 1 : 2 };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    kvquant s = header_of(shape, args);
    (void)err;
    plan->state = sizeof s + floats(&s) * sizeof(float);
    plan->code = code_bytes(&s);
    plan->scratch = 2 * s.d * sizeof(uint8_t);               /* which are outliers, and codes */
    plan->train_min = (size_t)PER_CENTROID * s.k;
    plan->bits_asked = s.b;
    if (s.slots)
        snprintf(plan->note, sizeof plan->note, "%u outliers of %zu bits in every vector", s.slots, 8 * slot_bytes(&s));
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(kvquant *)state = header_of(shape, args);
    return KVANT_OK;
}

static void parts(const kvant_shape *shape, const kvant_args *args, void *state, kvant_parts *out)
{
    kvquant *s = state;
    *s = header_of(shape, args);
    parts_add(out, "", "means", KVANT_TABLE, state, mean_of(s), 1, s->d, s->d);
    parts_add(out, "", "inverse_deviations", KVANT_TABLE, state, inverse_of(s), 1, s->d, s->d);
    parts_add(out, "", "codebook", KVANT_CODEBOOK, state, book_of(s, 0), (uint32_t)books(s), s->k, 2 * s->k);
    parts_add(out, "", "thresholds", KVANT_THRESHOLDS, state, book_of(s, 0) + s->k, (uint32_t)books(s), s->k - 1, 2 * s->k);
}

/* ---- Outliers and ranges --------------------------------------------------------------------------- */

/* Mean of a token's finite coordinates. */
static float token_mean(const float *x, size_t d)
{
    double sum = 0;
    size_t n = 0;
    for (size_t j = 0; j < d; j++)
        if (isfinite(x[j]))
            sum += x[j], n++;
    return n ? (float)(sum / (double)n) : 0;
}

/* out [d]: 1 for the coordinates that go to slots. What is not finite is farthest. */
static void find_outliers(const kvquant *s, const float *x, uint8_t *out)
{
    float mean = s->by_channel ? 0 : token_mean(x, s->d);
    memset(out, 0, s->d);
    for (size_t slot = 0; slot < s->slots; slot++) {
        size_t far = s->d;
        float most = -1;
        for (size_t j = 0; j < s->d; j++) {
            float distance = s->by_channel ? fabsf(x[j] - mean_of(s)[j]) * inverse_of(s)[j] : fabsf(x[j] - mean);
            distance = isfinite(x[j]) ? fminf(distance, FLT_MAX) : INFINITY;
            if (!out[j] && distance > most)
                most = distance, far = j;
        }
        out[far] = 1;              /* there are more coordinates than slots, and every distance is at least 0 */
    }
}

/* Of the coordinates that are no outliers; NaN when one of them is not finite. */
static range range_of(const kvquant *s, const float *x, const uint8_t *out)
{
    float min = INFINITY, max = -INFINITY, finite = 0;
    for (size_t j = 0; j < s->d; j++) {
        if (out[j])
            continue;
        min = x[j] < min ? x[j] : min;
        max = x[j] > max ? x[j] : max;
        finite += x[j] * 0;
    }
    if (finite != 0)
        return (range) { 0x7e00, 0x7e00 };
    float mid = (float)(((double)min + max) / 2), half = (float)(((double)max - min) / 2);
    return (range) { float_to_half_finite(mid), float_to_half_finite(half) };
}

/* x on the scale of the token's codebook. */
static float normalised(range r, float x)
{
    float half = half_to_float(r.half);
    return half > 0 ? (x - half_to_float(r.mid)) / half : 0;
}

/* ---- Training ------------------------------------------------------------------------------------------ */

static void set_moments(kvquant *s, const float *x, size_t n)
{
    for (size_t j = 0; j < s->d; j++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; i++)
            sum += x[i * s->d + j];
        double mean = sum / (double)n;
        for (size_t i = 0; i < n; i++)
            square += (x[i * s->d + j] - mean) * (x[i * s->d + j] - mean);
        double deviation = sqrt(square / (double)n);
        mean_of(s)[j] = (float)mean;
        inverse_of(s)[j] = 1 / deviation < FLT_MAX ? (float)(1 / deviation) : FLT_MAX;
    }
}

static kvant_status fit(kvquant *s, size_t j, float *numbers, size_t n, kvant_error *err)
{
    float *book = book_of(s, j);
    kvant_status status = kmeans_numbers(numbers, n, s->k, book, err);
    if (!status)
        codebook_thresholds(book, s->k, book + s->k);
    return status;
}

/* Every channel from its values in the vectors where it is no outlier; from all, where it always is one. */
static kvant_status fit_channels(kvquant *s, const float *x, size_t n, const uint8_t *out, float *numbers, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (size_t j = 0; j < s->d && !status; j++) {
        size_t count = 0;
        for (int all = 0; all < 2 && !count; all++)
            for (size_t i = 0; i < n; i++)
                if (all || !out[i * s->d + j])
                    numbers[count++] = x[i * s->d + j];
        status = fit(s, j, numbers, count, err);
    }
    return status;
}

static kvant_status fit_tokens(kvquant *s, const float *x, size_t n, const uint8_t *out, float *numbers, kvant_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        range r = range_of(s, x + i * s->d, out + i * s->d);
        for (size_t j = 0; j < s->d; j++)
            if (!out[i * s->d + j])
                numbers[count++] = normalised(r, x[i * s->d + j]);
    }
    return fit(s, 0, numbers, count, err);
}

static kvant_status train(void *state, const float *x, size_t n, kvant_error *err)
{
    kvquant *s = state;
    kvant_status status = training_finite("kvquant", x, n, s->d, err);
    if (status)
        return status;
    uint8_t *out = malloc(n * s->d);
    float *numbers = malloc(n * s->d * sizeof *numbers);
    status = out && numbers ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "kvquant: no memory for %zu vectors", n);
    if (!status) {
        set_moments(s, x, n);
        for (size_t i = 0; i < n; i++)
            find_outliers(s, x + i * s->d, out + i * s->d);
        status = s->by_channel ? fit_channels(s, x, n, out, numbers, err) : fit_tokens(s, x, n, out, numbers, err);
    }
    free(out);
    free(numbers);
    return status;
}

/* ---- Coding ---------------------------------------------------------------------------------------------- */

static void encode_slots(const kvquant *s, const float *x, const uint8_t *out, uint8_t *code)
{
    for (size_t j = 0; j < s->d; j++)
        if (out[j]) {
            uint16_t index = (uint16_t)j;
            memcpy(code, &index, s->index_bytes);              /* little-endian: the lower byte where one is enough */
            half_store(code + s->index_bytes, isfinite(x[j]) ? float_to_half_finite(x[j]) : 0x7e00);
            code += slot_bytes(s);
        }
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const kvquant *s = state;
    uint8_t *out = scratch, *idx = out + s->d;
    (void)first;
    for (size_t v = 0; v < n; v++, x += s->d, code += code_bytes(s)) {
        find_outliers(s, x, out);
        range r = { 0 };
        if (!s->by_channel) {
            r = range_of(s, x, out);
            memcpy(code, &r, sizeof r);
        }
        for (size_t j = 0; j < s->d; j++) {
            float value = s->by_channel ? x[j] : normalised(r, x[j]);
            idx[j] = out[j] ? 0 : codebook_index(book_of(s, j) + s->k, s->b, value);
        }
        bits_pack(code + range_bytes(s), idx, s->d, s->b);
        encode_slots(s, x, out, code + slots_at(s));
    }
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const kvquant *s = state;
    uint8_t *idx = scratch;
    (void)first;
    for (size_t v = 0; v < n; v++, x += s->d, code += code_bytes(s)) {
        float mid = 0, half = 1;
        if (!s->by_channel) {
            range r;
            memcpy(&r, code, sizeof r);
            mid = half_to_float(r.mid);
            half = half_to_float(r.half);
        }
        bits_unpack(idx, code + range_bytes(s), s->d, s->b);
        for (size_t j = 0; j < s->d; j++)
            x[j] = mid + half * book_of(s, j)[idx[j]];
        const uint8_t *slot = code + slots_at(s);
        for (size_t i = 0; i < s->slots; i++, slot += slot_bytes(s)) {
            uint16_t index = 0;
            memcpy(&index, slot, s->index_bytes);
            x[index < s->d ? index : 0] = half_load(slot + s->index_bytes);
        }
    }
}

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const kvquant *s = state;
    for (size_t v = 0; v < n; v++, code += code_bytes(s), sym += s->d)
        bits_unpack16(sym, code + range_bytes(s), s->d, s->b);
}

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = 3, .min = 1, .max = CODEBOOK_MAX_BITS },
    [AXIS] = { .name = "axis", .help = "what is fitted; auto: every channel for keys, one codebook and a range per token otherwise",
               .type = KVANT_CHOICE, .def = AXIS_AUTO, .choices = (const char *const[]) { "auto", "channel", "token", NULL } },
    [OUTLIERS] = { .name = "outliers", .help = "percent of a vector's coordinates that are stored apart, rounded up",
                   .type = KVANT_CHOICE, .def = 1, .choices = (const char *const[]) { "0", "1", NULL } },
    { .name = NULL }
};

/* Own Monte Carlo on Gaussian vectors: trained on 8 2^b of them, errors of new ones. */
#define NMSE(d, args, value, relative) { "gaussian", d, args, "nmse", value, relative * value, "own Monte Carlo, trained alike" }
#define CHANNEL(d, b, outliers, value) NMSE(d, "axis=channel,bits=" #b ",outliers=" #outliers, value, .01)
#define TOKEN(d, b, outliers, value) NMSE(d, "axis=token,bits=" #b ",outliers=" #outliers, value, .003)

static const kvant_oracle oracles[] = {
    CHANNEL(64, 2, 0, .14705), CHANNEL(64, 3, 0, .04549), CHANNEL(64, 4, 0, .013924),
    CHANNEL(64, 2, 1, .11990), CHANNEL(64, 3, 1, .03494), CHANNEL(64, 4, 1, .009964),
    CHANNEL(128, 2, 1, .11740), CHANNEL(128, 3, 1, .03336), CHANNEL(128, 4, 1, .009276),
    TOKEN(128, 2, 0, .12031), TOKEN(128, 3, 0, .032082), TOKEN(128, 4, 0, .007827),
    TOKEN(128, 2, 1, .09167), TOKEN(128, 3, 1, .024004), TOKEN(128, 4, 1, .005917),
    { "constant", 64, "axis=channel", "nmse", 0, 1e-12, "channels that are all alike are their own centroid" },
    { .input = NULL }
};

const kvant_quantizer quantizer_kvquant = {
    .name = "kvquant", .summary = "trained non-uniform codes, keys by channel, values by token, 1 % of outliers apart",
    .source = "KVQuant, arXiv 2401.18079, section 3, with plain weights", .params = params, .oracles = oracles, .plan = plan,
    .init = init, .train = train, .ops = { .encode = encode, .decode = decode, .symbols = symbols },
    .parts = parts
};
