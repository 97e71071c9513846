/* kivi.c - KIVI (Liu, Yuan, Jin, Zhong, Xu, Braverman, Chen, Hu; arXiv 2402.02750): keys by channel, values by token.
 * Idea: keys have a few channels that are large in every token, so 32 tokens of one channel share a range and a large channel
 * spoils no other; values have no such channels and are mixed token by token, so neighbouring coordinates of a token share one.
 * Both are asymmetric: scale = (max - min) / (2^b - 1), zero = min, in half precision (section 3.1, shared/affine_groups.c).
 *
 * Cost: b + 32 / group_size bits per coordinate, b + 1 by default; one multiplication and one addition per coordinate to decode.
 * By channel, scales go into the query and out of the mix once for a block of tokens.
 *
 * Where it loses: two bits are four levels between the extremes of 32 values: on a Gaussian .154 for 3 stored bits, more than four
 * times turboquant_mse's error at 3.1 (and one bit offers only the extremes, which is worse than zeros); a channel
 * that is large in one token only spoils its group; and keys wait in half precision until their block is complete. The paper's
 * numbers need the last 128 tokens in half precision as well: that is the policy's `window`, not done here.
 *
 * Defined: a constant group decodes to its value rounded to half; ranges beyond half's saturate at 65504; a scale that underflows
 * leaves codes 0, a denormal group decodes to its minimum rounded to half. A group that holds NaN or infinity decodes to NaN - by
 * channel, that channel in all tokens of the block - and leaves the others alone. */
#include "algorithms/shared/affine_groups.h"
#include "algorithms/shared/bits.h"
#include "algorithms/shared/lanes.h"

enum { BITS, GROUP_SIZE, AXIS };
enum { AXIS_AUTO, AXIS_CHANNEL, AXIS_TOKEN };

/* By channel, g is the block: tokens that share a grid in every channel. */
typedef struct { affine_vector base; uint32_t by_channel; } kivi;

/* A block by channel: the head of every channel, then a row of d packed codes per token. */
static size_t row_bytes(const kivi *s) { return bits_bytes(s->base.d, s->base.b); }
static size_t heads_bytes(const kivi *s) { return s->base.d * sizeof(affine_head); }
static size_t block_bytes(const kivi *s) { return heads_bytes(s) + s->base.g * row_bytes(s); }

/* Per thread: one vector of floats, one channel, its codes, and the codes of a block. */
typedef struct { float *vector, *channel; uint8_t *channel_codes, *codes; } workspace;

static workspace workspace_of(const kivi *s, void *scratch)
{
    float *vector = scratch, *channel = vector + s->base.d;
    uint8_t *channel_codes = (uint8_t *)(channel + s->base.g);
    return (workspace) { vector, channel, channel_codes, channel_codes + s->base.g };
}

static kivi state_of(const kvant_shape *shape, const kvant_args *args)
{
    bool by_channel = args->v[AXIS] == AXIS_CHANNEL || (args->v[AXIS] == AXIS_AUTO && shape->side == KVANT_KEY);
    uint32_t b = (uint32_t)args->v[BITS], g = (uint32_t)args->v[GROUP_SIZE];
    return (kivi) { affine_vector_of(shape->dim, b, g, AFFINE_MINMAX), by_channel };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    kivi s = state_of(shape, args);
    plan->state = sizeof s;
    if (!s.by_channel)
        return affine_plan("kivi", &s.base, plan, err);
    plan->block = s.base.g;
    plan->code = block_bytes(&s);
    plan->query = s.base.d * sizeof(float);
    plan->acc = s.base.d;
    plan->scratch = (s.base.d + s.base.g) * sizeof(float) + s.base.g + (size_t)s.base.g * s.base.d;
    plan->bits_asked = s.base.b;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(kivi *)state = state_of(shape, args);
    return KVANT_OK;
}

/* ---- By channel ------------------------------------------------------------------------------------ */

static void encode_block(const kivi *s, const float *x, uint8_t *code, const workspace *w)
{
    size_t d = s->base.d, g = s->base.g;
    for (size_t j = 0; j < d; j++) {
        for (size_t t = 0; t < g; t++)
            w->channel[t] = x[t * d + j];
        affine_head head = affine_encode_group(AFFINE_MINMAX, s->base.b, w->channel, g, w->channel_codes);
        memcpy(code + j * sizeof head, &head, sizeof head);
        for (size_t t = 0; t < g; t++)
            w->codes[t * d + j] = w->channel_codes[t];
    }
    for (size_t t = 0; t < g; t++)
        bits_pack(code + heads_bytes(s) + t * row_bytes(s), w->codes + t * d, d, s->base.b);
}

static lanes part_of(const kivi *s, const uint8_t *code, size_t first, size_t n, size_t done)
{
    return lanes_after(done, code, first, n, s->base.g, block_bytes(s));
}

static void unpack(const kivi *s, const lanes *p, uint8_t *codes)
{
    for (size_t t = 0; t < p->n; t++)
        bits_unpack(codes + t * s->base.d, p->code + heads_bytes(s) + (p->lane + t) * row_bytes(s), s->base.d, s->base.b);
}

static void decode_part(const kivi *s, const lanes *p, float *x, const workspace *w)
{
    size_t d = s->base.d;
    unpack(s, p, w->codes);
    for (size_t j = 0; j < d; j++) {
        affine_grid grid = affine_grid_at(p->code, j);
        for (size_t t = 0; t < p->n; t++)
            x[t * d + j] = grid.scale * w->codes[t * d + j] + grid.zero;
    }
}

/* <q, x> = <q * scale, code> + <q, zero>: the product and the sum serve all tokens of the block. */
static void score_part(const kivi *s, const lanes *p, const float *q, float *dot, const workspace *w)
{
    size_t d = s->base.d;
    float zero = 0;
    for (size_t j = 0; j < d; j++) {
        affine_grid grid = affine_grid_at(p->code, j);
        w->vector[j] = q[j] * grid.scale;
        zero += q[j] * grid.zero;
    }
    for (size_t t = 0; t < p->n; t++)
        dot[t] = affine_dot(w->vector, w->codes + t * d, d) + zero;
}

/* sum of w x = scale * (sum of w code) + zero * (sum of w). */
static void mix_part(const kivi *s, const lanes *p, const float *weight, float *acc, const workspace *w)
{
    size_t d = s->base.d;
    float total = 0;
    memset(w->vector, 0, d * sizeof(float));
    for (size_t t = 0; t < p->n; t++) {
        total += weight[t];
        for (size_t j = 0; j < d; j++)
            w->vector[j] += weight[t] * w->codes[t * d + j];
    }
    for (size_t j = 0; j < d; j++) {
        affine_grid grid = affine_grid_at(p->code, j);
        acc[j] += grid.scale * w->vector[j] + grid.zero * total;
    }
}

/* ---- Ops --------------------------------------------------------------------------------------------- */

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const kivi *s = state;
    workspace w = workspace_of(s, scratch);
    if (!s->by_channel) {
        affine_encode(s, x, first, n, code, scratch);
        return;
    }
    for (size_t done = 0; done < n; done += s->base.g, code += block_bytes(s))
        encode_block(s, x + done * s->base.d, code, &w);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const kivi *s = state;
    workspace w = workspace_of(s, scratch);
    if (!s->by_channel) {
        affine_decode(s, code, first, n, x, scratch);
        return;
    }
    for (size_t done = 0; done < n; ) {
        lanes p = part_of(s, code, first, n, done);
        decode_part(s, &p, x + done * s->base.d, &w);
        done += p.n;
    }
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const kivi *s = state;
    if (s->by_channel)
        memcpy(prepared, q, nq * s->base.d * sizeof *q);
    else
        affine_query(s, q, nq, prepared, scratch);
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const kivi *s = state;
    workspace w = workspace_of(s, scratch);
    const float *q = prepared;
    if (!s->by_channel) {
        affine_score(s, prepared, nq, code, first, n, dot, scratch);
        return;
    }
    for (size_t done = 0; done < n; ) {
        lanes p = part_of(s, code, first, n, done);
        unpack(s, &p, w.codes);
        for (size_t i = 0; i < nq; i++)
            score_part(s, &p, q + i * s->base.d, dot + i * n + done, &w);
        done += p.n;
    }
}

static void mix(const void *state, const float *weight, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const kivi *s = state;
    workspace w = workspace_of(s, scratch);
    if (!s->by_channel) {
        affine_mix(s, weight, nq, code, first, n, acc, scratch);
        return;
    }
    for (size_t done = 0; done < n; ) {
        lanes p = part_of(s, code, first, n, done);
        unpack(s, &p, w.codes);
        for (size_t i = 0; i < nq; i++)
            mix_part(s, &p, weight + i * n + done, acc + i * s->base.d, &w);
        done += p.n;
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const kivi *s = state;
    if (s->by_channel)
        memcpy(out, acc, nq * s->base.d * sizeof *out);
    else
        affine_finish(s, acc, nq, out, scratch);
}

static void symbols(const void *state, const uint8_t *code, size_t n, uint16_t *sym)
{
    const kivi *s = state;
    if (!s->by_channel) {
        affine_symbols(s, code, n, sym);
        return;
    }
    for (size_t v = 0; v < n; v++)
        bits_unpack16(sym + v * s->base.d,
                      code + v / s->base.g * block_bytes(s) + heads_bytes(s) + v % s->base.g * row_bytes(s), s->base.d, s->base.b);
}

static const kvant_param params[] = {
    [BITS] = { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = 2, .min = 1, .max = 8 },
    [GROUP_SIZE] = { .name = "group_size", .type = KVANT_INT,
                     .help = "by channel: tokens that share scale and zero, coded together; by token: coordinates",
                     .def = 32, .min = 8, .max = 1024 },
    [AXIS] = { .name = "axis", .help = "along which groups lie; auto: by channel for keys, by token for values and other vectors",
               .type = KVANT_CHOICE, .def = AXIS_AUTO, .choices = (const char *const[]) { "auto", "channel", "token", NULL } },
    { .name = NULL }
};

/* Monte Carlo values for N(0,1), good to .3 %, of another implementation. Independent data cannot tell the axes apart; channels of
 * different magnitude can: by channel each keeps its relative error, while by token those beside a large one lose theirs. */
#define NMSE(input, d, args, value) { input, d, args, "nmse", value, .003 * value, "Monte Carlo" }

static const kvant_oracle oracles[] = {
    NMSE("gaussian", 128, "bits=1", 1.961), NMSE("gaussian", 128, "bits=1,axis=channel", 1.961),
    NMSE("gaussian", 128, "bits=2", .154), NMSE("gaussian", 128, "bits=3", .0281), NMSE("gaussian", 128, "bits=4", .00611),
    NMSE("gaussian", 128, "bits=2,axis=channel", .154), NMSE("gaussian", 128, "bits=3,axis=channel", .0281),
    NMSE("gaussian", 128, "bits=4,axis=channel", .00611),
    NMSE("gaussian", 80, "bits=2,axis=channel,group_size=64", .202),
    NMSE("gaussian", 64, "bits=4,axis=channel,group_size=128", .00994),
    NMSE("outlier_channels", 128, "bits=2,axis=channel", .154), NMSE("outlier_channels", 64, "bits=4,axis=channel", .00611),
    { .input = NULL }
};

const kvant_quantizer quantizer_kivi = {
    .name = "kivi", .summary = "min-max groups: keys by channel over 32 tokens, values by token over 32 coordinates",
    .source = "KIVI, arXiv 2402.02750, section 3", .params = params, .oracles = oracles, .plan = plan, .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish, .symbols = symbols }
};
