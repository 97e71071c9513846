/* polarquant_rope.c - PolarQuant for rotated keys (Wu, Lv, Feng, Zhang, Zhang, Yin, Lin, Yan; arXiv 2502.00527).
 * Not the recursive method of the same name, 2502.02617 (polarquant.c): no random rotation, no levels.
 * Idea: RoPE turns pairs of coordinates by one angle, and where one coordinate of a pair is an outlier the pair is a ring: its
 * radius r and angle theta are spread evenly. So each pair of a key, after RoPE, is stored as (r, theta), both on even cells
 * between the extremes of a group of tokens.
 *
 *   cell = floor((v - min) / scale), scale = (max - min) / 2^b, v^ = min + (cell + 1/2) scale, for v = r and v = theta in [0, 2 pi)
 *
 * This reading: a group is `group_size` tokens of one pair, as in the authors' code (128 there), coded together; scale and min in
 * half precision, rounded before the cells are taken. Pairs are RoPE's own: (i, i + width / 2) or (2 i, 2 i + 1), as the model
 * has them. Coordinates beyond the rotated width, and all of them when no RoPE is known, pair up with their neighbours. Keys
 * only.
 *
 * Cost: (r_bits + theta_bits) / 2 + 32 / group_size bits per coordinate, 4.25 by default. A query meets a table per pair and
 * group, q_a cos + q_b sin of every cell, then each token costs two lookups and a multiplication per pair.
 *
 * Where it loses: even cells between extremes, on both axes, where radii are bell-shaped; an angle's group does not know that 0
 * and 2 pi are neighbours, so a tight bundle of angles around 0 gets the coarsest grid; on isotropic data the error grows with
 * the square of r times the cell, 1.6 times that of turboquant_mse at 4 bits; keys wait until their group is complete.
 *
 * Defined: zeros decode to zeros; radii and their scales saturate at 65504 and become 0 below 2^-25. A pair that is not finite in
 * one token decodes to NaN in all tokens of its group and leaves other pairs alone. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/lanes.h"
#include "harness/kvant.h"

#include <math.h>
#include <stdio.h>

enum { R_BITS, THETA_BITS, GROUP_SIZE };
enum { MAX_BITS = 8, CELLS = 1 << MAX_BITS };

/* `half`: distance of the coordinates of the first `half` pairs; 0 when all pairs are neighbours. */
typedef struct { uint32_t d, pairs, half, g, r_bits, theta_bits; } polar_rope;

/* A block: the grids of every pair, then per token a row of packed radii and one of packed angles. */
typedef struct { uint16_t scale, min; } grid_head;
typedef struct { grid_head r, theta; } pair_head;

static size_t heads_bytes(const polar_rope *s) { return s->pairs * sizeof(pair_head); }
static size_t r_bytes(const polar_rope *s) { return bits_bytes(s->pairs, s->r_bits); }
static size_t row_bytes(const polar_rope *s) { return r_bytes(s) + bits_bytes(s->pairs, s->theta_bits); }
static size_t block_bytes(const polar_rope *s) { return heads_bytes(s) + s->g * row_bytes(s); }

static size_t first_of(const polar_rope *s, size_t pair) { return pair < s->half ? pair : 2 * pair; }
static size_t second_of(const polar_rope *s, size_t pair) { return pair < s->half ? pair + s->half : 2 * pair + 1; }

/* Per thread: the cells of a block, token by token, and one pair's values in it. */
typedef struct { float *value; uint8_t *r, *theta; } workspace;

static workspace workspace_of(const polar_rope *s, void *scratch)
{
    float *value = scratch;
    uint8_t *r = (uint8_t *)(value + 2 * s->g);
    return (workspace) { value, r, r + (size_t)s->g * s->pairs };
}

static polar_rope state_of(const kvant_shape *shape, const kvant_args *args)
{
    return (polar_rope) { .d = shape->dim, .pairs = shape->dim / 2,
                          .half = shape->rope.pairing == KVANT_ROPE_HALF ? shape->rope.width / 2 : 0,
                          .g = (uint32_t)args->v[GROUP_SIZE], .r_bits = (uint32_t)args->v[R_BITS],
                          .theta_bits = (uint32_t)args->v[THETA_BITS] };
}

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    polar_rope s = state_of(shape, args);
    bool rotated = shape->rope.pairing != KVANT_ROPE_NONE && shape->rope.width > 0;
    if (shape->side == KVANT_VALUE)
        return kvant_fail(err, KVANT_SKIP, "polarquant_rope: values are not rotated by RoPE; it is a method for keys");
    if (s.d % 2 || (rotated && (shape->rope.width % 2 || shape->rope.width > s.d)))
        return kvant_fail(err, KVANT_SKIP, "polarquant_rope: dim %u, of which RoPE rotates %u, does not split into pairs", s.d,
                          rotated ? shape->rope.width : 0);
    if (!rotated)
        snprintf(plan->note, sizeof plan->note, "no RoPE known: pairs are neighbouring coordinates");
    else if (shape->rope.width < s.d)
        snprintf(plan->note, sizeof plan->note, "pairs beyond the rotated %u coordinates are neighbours", shape->rope.width);
    plan->state = sizeof s;
    plan->code = block_bytes(&s);
    plan->block = s.g;
    plan->query = s.d * sizeof(float);
    plan->acc = s.d;
    plan->scratch = 2 * s.g * sizeof(float) + 2 * (size_t)s.g * s.pairs;
    plan->bits_asked = (s.r_bits + s.theta_bits) / 2.;
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    (void)err;
    *(polar_rope *)state = state_of(shape, args);
    return KVANT_OK;
}

/* ---- Encoding -------------------------------------------------------------------------------------- */

/* Cells of v [g]; cells of different tokens lie `stride` bytes apart. */
static grid_head encode_grid(const float *v, size_t g, uint32_t b, uint8_t *cells, size_t stride)
{
    float min = v[0], max = v[0], finite = 0, last = (float)((1u << b) - 1);
    for (size_t t = 0; t < g; t++) {
        min = v[t] < min ? v[t] : min;
        max = v[t] > max ? v[t] : max;
        finite += v[t] * 0;                              /* NaN as soon as one is not finite */
    }
    grid_head head = { 0x7e00, 0x7e00 };
    if (finite == 0)
        head = (grid_head) { float_to_half_finite((max - min) / (last + 1)), float_to_half_finite(min) };
    float scale = half_to_float(head.scale), low = half_to_float(head.min);
    for (size_t t = 0; t < g; t++) {
        float cell = scale > 0 ? floorf((v[t] - low) / scale) : 0;
        cells[t * stride] = (uint8_t)(cell > 0 ? cell < last ? cell : last : 0);
    }
    return head;
}

static void encode_block(const polar_rope *s, const float *x, uint8_t *code, const workspace *w)
{
    float *r = w->value, *theta = w->value + s->g;
    for (size_t pair = 0; pair < s->pairs; pair++) {
        for (size_t t = 0; t < s->g; t++) {
            double a = x[t * s->d + first_of(s, pair)], b = x[t * s->d + second_of(s, pair)], angle = atan2(b, a);
            r[t] = (float)fmin(sqrt(a * a + b * b), 3e38);           /* a longer one would be infinite, and saturates anyhow */
            r[t] = isfinite(a) && isfinite(b) ? r[t] : NAN;
            theta[t] = (float)(angle < 0 ? angle + 2 * M_PI : angle);
            theta[t] = isfinite(r[t]) ? theta[t] : NAN;
        }
        pair_head head = { encode_grid(r, s->g, s->r_bits, w->r + pair, s->pairs),
                           encode_grid(theta, s->g, s->theta_bits, w->theta + pair, s->pairs) };
        memcpy(code + pair * sizeof head, &head, sizeof head);
    }
    for (size_t t = 0; t < s->g; t++) {
        uint8_t *row = code + heads_bytes(s) + t * row_bytes(s);
        bits_pack(row, w->r + t * s->pairs, s->pairs, s->r_bits);
        bits_pack(row + r_bytes(s), w->theta + t * s->pairs, s->pairs, s->theta_bits);
    }
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const polar_rope *s = state;
    workspace w = workspace_of(s, scratch);
    (void)first;
    for (size_t done = 0; done < n; done += s->g, code += block_bytes(s))
        encode_block(s, x + done * s->d, code, &w);
}

/* ---- Decoding: tables of a pair's cells serve all tokens of the part ----------------------------------- */

typedef struct { float r[CELLS], cosine[CELLS], sine[CELLS]; } tables;

static float cell_value(grid_head head, size_t cell)
{
    return half_to_float(head.min) + ((float)cell + .5f) * half_to_float(head.scale);
}

static void tables_of(const polar_rope *s, const lanes *p, size_t pair, tables *table)
{
    pair_head head;
    memcpy(&head, p->code + pair * sizeof head, sizeof head);
    for (size_t k = 0; k < (size_t)1 << s->r_bits; k++)
        table->r[k] = cell_value(head.r, k);
    for (size_t k = 0; k < (size_t)1 << s->theta_bits; k++) {
        table->cosine[k] = cosf(cell_value(head.theta, k));
        table->sine[k] = sinf(cell_value(head.theta, k));
    }
}

/* The next part of a range, its cells unpacked. */
static lanes next_part(const polar_rope *s, const uint8_t *code, size_t first, size_t n, size_t done, const workspace *w)
{
    lanes p = lanes_after(done, code, first, n, s->g, block_bytes(s));
    for (size_t t = 0; t < p.n; t++) {
        const uint8_t *row = p.code + heads_bytes(s) + (p.lane + t) * row_bytes(s);
        bits_unpack(w->r + t * s->pairs, row, s->pairs, s->r_bits);
        bits_unpack(w->theta + t * s->pairs, row + r_bytes(s), s->pairs, s->theta_bits);
    }
    return p;
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const polar_rope *s = state;
    workspace w = workspace_of(s, scratch);
    tables table;
    for (size_t done = 0; done < n; ) {
        lanes p = next_part(s, code, first, n, done, &w);
        for (size_t pair = 0; pair < s->pairs; pair++) {
            tables_of(s, &p, pair, &table);
            for (size_t t = 0; t < p.n; t++) {
                float *to = x + (done + t) * s->d, r = table.r[w.r[t * s->pairs + pair]];
                uint8_t k = w.theta[t * s->pairs + pair];
                to[first_of(s, pair)] = r * table.cosine[k];
                to[second_of(s, pair)] = r * table.sine[k];
            }
        }
        done += p.n;
    }
}

static void query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    (void)scratch;
    memcpy(prepared, q, nq * ((const polar_rope *)state)->d * sizeof *q);
}

static void score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                  void *scratch)
{
    const polar_rope *s = state;
    workspace w = workspace_of(s, scratch);
    tables table;
    float along[CELLS];            /* <(q_a, q_b), (cos, sin)> of every cell */
    memset(dot, 0, nq * n * sizeof *dot);
    for (size_t done = 0; done < n; ) {
        lanes p = next_part(s, code, first, n, done, &w);
        for (size_t pair = 0; pair < s->pairs; pair++) {
            tables_of(s, &p, pair, &table);
            for (size_t i = 0; i < nq; i++) {
                const float *q = (const float *)prepared + i * s->d;
                for (size_t k = 0; k < (size_t)1 << s->theta_bits; k++)
                    along[k] = q[first_of(s, pair)] * table.cosine[k] + q[second_of(s, pair)] * table.sine[k];
                for (size_t t = 0; t < p.n; t++)
                    dot[i * n + done + t] += table.r[w.r[t * s->pairs + pair]] * along[w.theta[t * s->pairs + pair]];
            }
        }
        done += p.n;
    }
}

static void mix(const void *state, const float *weight, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                void *scratch)
{
    const polar_rope *s = state;
    workspace w = workspace_of(s, scratch);
    tables table;
    for (size_t done = 0; done < n; ) {
        lanes p = next_part(s, code, first, n, done, &w);
        for (size_t pair = 0; pair < s->pairs; pair++) {
            tables_of(s, &p, pair, &table);
            for (size_t i = 0; i < nq; i++) {
                float a = 0, b = 0;
                for (size_t t = 0; t < p.n; t++) {
                    float weighted = weight[i * n + done + t] * table.r[w.r[t * s->pairs + pair]];
                    a += weighted * table.cosine[w.theta[t * s->pairs + pair]];
                    b += weighted * table.sine[w.theta[t * s->pairs + pair]];
                }
                acc[i * s->d + first_of(s, pair)] += a;
                acc[i * s->d + second_of(s, pair)] += b;
            }
        }
        done += p.n;
    }
}

static void finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    (void)scratch;
    memcpy(out, acc, nq * ((const polar_rope *)state)->d * sizeof *out);
}

static const kvant_param params[] = {
    [R_BITS] = { .name = "r_bits", .help = "bits of a radius", .type = KVANT_INT, .def = 4, .min = 1, .max = MAX_BITS },
    [THETA_BITS] = { .name = "theta_bits", .help = "bits of an angle", .type = KVANT_INT, .def = 4, .min = 1, .max = MAX_BITS },
    [GROUP_SIZE] = { .name = "group_size", .help = "tokens that share the grids of a pair, coded together", .type = KVANT_INT,
                     .def = 128, .min = 8, .max = 1024 },
    { .name = NULL }
};

/* Own Monte Carlo of the stated cells on N(0,1), good to .1 %. */
#define NMSE(d, args, value) { "gaussian", d, args, "nmse", value, .001 * value, "own Monte Carlo, 8 million pairs" }

static const kvant_oracle oracles[] = {
    NMSE(64, "", .014519), NMSE(128, "", .014519), NMSE(128, "r_bits=3,theta_bits=3", .057647),
    NMSE(80, "r_bits=2,theta_bits=2", .224606), NMSE(64, "group_size=32", .013990),
    NMSE(96, "r_bits=2,theta_bits=4,group_size=64", .035914), NMSE(64, "r_bits=5,theta_bits=6", .0012291),
    NMSE(64, "r_bits=1,theta_bits=8,group_size=16", .065639),
    { .input = NULL }
};

const kvant_quantizer quantizer_polarquant_rope = {
    .name = "polarquant_rope", .summary = "RoPE's own pairs of keys as radius and angle, even cells over a group of tokens",
    .source = "PolarQuant, arXiv 2502.00527, and the authors' code for groups", .params = params, .oracles = oracles, .plan = plan,
    .init = init,
    .ops = { .encode = encode, .decode = decode, .query = query, .score = score, .mix = mix, .finish = finish }
};
