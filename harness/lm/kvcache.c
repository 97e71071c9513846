/* kvcache.c - codes of keys and values per layer and KV head; sinks, the window and incomplete blocks in f16 by the f16 codec.
 * Tokens that ever wait in f16 are coded from their f16 form, in whatever way they were appended, so that the path of a token
 * through prefill or decode cannot be told from its code. */
#include "harness/lm/kvcache.h"

#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

/* Storage of one layer, head and side; copy: of the codes, at the same indices, or nothing. codec is the sequence's own and its state
 * lies in the cache's memory; its state is NULL where the policy's codec serves. */
typedef struct { uint8_t *codes, *copy, *sink, *ring; kvant_codec codec; } part;

struct kvcache {
    const kvcache_codecs *codecs;
    uint32_t capacity, length;
    uint32_t first_layer;          /* layers below have no memory */
    part *parts;                   /* [n_layer][n_kv_head][2] */
    uint8_t *memory;
    uint64_t bytes_key, bytes_value;
    kvant_status trained;          /* what came of training on first tokens */
    kvant_error why;
};

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static part *part_of(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side)
{
    return &cache->parts[kvcache_group(&cache->codecs->shape, layer, head, side)];
}

kvcache_rule kvcache_rule_of(const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side)
{
    const kvant_codec *codec = kvcache_codec(codecs, layer, head, side);
    const uint32_t block = (uint32_t)codec->plan.block, learns = codec->plan.prompt ? (uint32_t)codec->plan.train_min : 0;
    const uint32_t least = learns > block ? (learns + block - 1) / block * block : block;
    const uint32_t sliding = kvcache_sliding_of(&codecs->shape.sliding, layer), window = codecs->policy.window;
    kvcache_rule rule = { .codec = codec, .sink = codecs->policy.sink, .window = window, .sliding = sliding, .least = least,
                          .staged = window > 0 || least > 1 };
    if (sliding > 0 && (window >= sliding || codecs->policy.sliding == SLIDING_F16))
        rule = (kvcache_rule){ .codec = codecs->f16, .sliding = sliding, .least = 1, .all_f16 = true };
    rule.raw = codecs->policy.prefill == PREFILL_RAW;
    rule.unrotated = side == KVANT_KEY && codecs->policy.key_stage == KEYS_PRE_ROPE;
    const bool halves = rule.codec->quantizer == codecs->f16->quantizer;
    rule.decoded = !halves && codecs->policy.decode_reads == READS_DECODED;
    rule.copied = !halves && codecs->policy.decode_reads == READS_COPY;
    return rule;
}

kvcache_rule kvcache_rule_in(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side)
{
    kvcache_rule rule = kvcache_rule_of(cache->codecs, layer, head, side);
    const part *p = part_of(cache, layer, head, side);
    if (p->codec.state)
        rule.codec = &p->codec;
    return rule;
}

uint32_t kvcache_coded(const kvcache_rule *rule, uint32_t length)
{
    const uint64_t kept = (uint64_t)rule->sink + rule->window;
    const uint32_t free_of_window = length > kept ? (uint32_t)(length - kept) : 0;
    return free_of_window < rule->least ? 0 : free_of_window - free_of_window % (uint32_t)rule->codec->plan.block;
}

uint32_t kvcache_covered(const kvcache_rule *rule, uint32_t length)
{
    return min_u32(length, rule->sink + kvcache_coded(rule, length));
}

kvcache_counts kvcache_count(const kvcache_rule *rule, uint32_t length)
{
    const uint32_t covered = kvcache_covered(rule, length), first = kvcache_first_seen(rule, length),
        sinks = min_u32(rule->sink, length);
    kvcache_counts counts = { .kept = (first < sinks ? sinks - first : 0) + length - covered };
    if (covered > sinks) {
        const uint32_t gone = first > rule->sink ? min_u32(first - rule->sink, covered - rule->sink) : 0;
        counts.coded = covered - rule->sink - gone / (uint32_t)rule->codec->plan.block * (uint32_t)rule->codec->plan.block;
    }
    return counts;
}

uint32_t kvcache_waiting_max(const kvcache_rule *rule, uint32_t n)
{
    return rule->staged ? rule->window + rule->least - 1 + n : rule->raw ? n : 0;
}

/* ---- Sizes and memory ------------------------------------------------------------------------ */

/* Tokens that the ring must hold: the window and what is coded first, never more than the cache. */
static uint32_t ring_size(const kvcache_rule *rule, uint32_t capacity)
{
    return rule->staged ? min_u32(capacity, rule->window + rule->least) : 0;
}

/* Tokens that the area of codes has room for. A sliding window needs the units that hold what is seen when most of it is codes, and
 * these end with a whole block; older units are overwritten. */
static uint32_t codes_size(const kvcache_rule *rule, uint32_t capacity)
{
    const uint32_t unit = (uint32_t)rule->codec->unit, block = (uint32_t)rule->codec->plan.block;
    const uint32_t all = (kvcache_coded(rule, capacity) + unit - 1) / unit * unit;
    if (!rule->sliding)
        return all;
    const uint32_t seen = rule->sliding - rule->window, units = seen > block ? (seen - block + unit - 1) / unit + 1 : 1;
    return units < all / unit ? units * unit : all;
}

/* The same for sinks. */
static uint32_t sinks_size(const kvcache_rule *rule, uint32_t capacity)
{
    const uint32_t all = min_u32(rule->sink, capacity);
    return rule->sliding ? min_u32(all, rule->sliding) : all;
}

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Bytes of the areas of a part. A copy has the slots of the codes, but for those that only fill up their last unit. */
typedef struct { size_t codes, copy, sink, ring, state; } part_bytes;

static part_bytes part_size(const kvcache_codecs *codecs, uint32_t layer, uint32_t head, kvant_side side, uint32_t capacity)
{
    const kvcache_rule rule = kvcache_rule_of(codecs, layer, head, side);
    const uint32_t slots = codes_size(&rule, capacity), copies = rule.copied ? min_u32(slots, kvcache_coded(&rule, capacity)) : 0;
    return (part_bytes){ .codes = aligned(kvant_bytes(rule.codec, slots)),
                         .copy = aligned(kvant_bytes(codecs->f16, copies)),
                         .sink = aligned(kvant_bytes(codecs->f16, sinks_size(&rule, capacity))),
                         .ring = aligned(kvant_bytes(codecs->f16, ring_size(&rule, capacity))),
                         .state = rule.codec->plan.prompt ? aligned(rule.codec->plan.state) : 0 };
}

kvant_status kvcache_open(const kvcache_codecs *codecs, uint32_t capacity, kvcache **cache, kvant_error *err)
{
    return kvcache_open_from(codecs, 0, capacity, cache, err);
}

kvant_status kvcache_open_from(const kvcache_codecs *codecs, uint32_t first_layer, uint32_t capacity, kvcache **cache,
                               kvant_error *err)
{
    const kvcache_shape *shape = &codecs->shape;
    if (first_layer >= shape->n_layer)
        return kvant_fail(err, KVANT_INVALID, "a cache from layer %u on; the model's last is %u", first_layer, shape->n_layer - 1);
    kvcache *c = calloc(1, sizeof *c);
    if (c)
        c->parts = calloc((size_t)shape->n_layer * shape->n_kv_head * 2, sizeof *c->parts);
    if (!c || !c->parts) {
        kvcache_close(c);
        return kvant_fail(err, KVANT_NOMEM, "no memory for a cache");
    }
    c->codecs = codecs;
    c->capacity = capacity;
    c->first_layer = first_layer;
    for (uint32_t layer = first_layer; layer < shape->n_layer; layer++)
        for (uint32_t head = 0; head < shape->n_kv_head; head++)
            for (int side = 0; side < 2; side++) {
                const part_bytes b = part_size(codecs, layer, head, side ? KVANT_VALUE : KVANT_KEY, capacity);
                *(side ? &c->bytes_value : &c->bytes_key) += b.codes + b.copy + b.sink + b.ring + b.state;
            }
    c->memory = alloc_huge(c->bytes_key + c->bytes_value + 1);
    if (!c->memory) {
        const double mib = (double)(c->bytes_key + c->bytes_value) / 1048576;
        kvcache_close(c);
        return kvant_fail(err, KVANT_NOMEM, "no memory for a cache of %u tokens (%.1f MiB)", capacity, mib);
    }
    uint8_t *at = c->memory;
    part *p = part_of(c, first_layer, 0, KVANT_KEY);
    for (uint32_t layer = first_layer; layer < shape->n_layer; layer++)
        for (uint32_t head = 0; head < shape->n_kv_head; head++)
            for (int side = 0; side < 2; side++, p++) {
                const part_bytes b = part_size(codecs, layer, head, side ? KVANT_VALUE : KVANT_KEY, capacity);
                p->codes = at;
                p->copy = p->codes + b.codes;
                p->sink = p->copy + b.copy;
                p->ring = p->sink + b.sink;
                if (b.state) {
                    p->codec = *kvcache_codec(codecs, layer, head, side ? KVANT_VALUE : KVANT_KEY);
                    p->codec.state = p->ring + b.ring;
                }
                at = p->ring + b.ring + b.state;
            }
    kvcache_reset(c);
    *cache = c;
    return KVANT_OK;
}

void kvcache_close(kvcache *cache)
{
    if (!cache)
        return;
    free(cache->memory);
    free(cache->parts);
    free(cache);
}

void kvcache_reset(kvcache *cache)
{
    const kvcache_codecs *codecs = cache->codecs;
    const size_t groups = (size_t)codecs->shape.n_layer * codecs->shape.n_kv_head * 2;
    cache->length = 0;
    cache->trained = KVANT_OK;
    for (size_t i = 0; i < groups; i++)
        if (cache->parts[i].codec.state)       /* as it was before it saw anything */
            memcpy(cache->parts[i].codec.state, codecs->of[i]->state, codecs->of[i]->plan.state);
}

kvant_status kvcache_repeat(kvcache *cache, kvant_error *err)
{
    const kvcache_shape *shape = &cache->codecs->shape;
    const size_t groups = (size_t)shape->n_kv_head * 2, first = cache->first_layer * groups;
    const size_t layers = shape->n_layer - cache->first_layer, bytes = (size_t)(cache->bytes_key + cache->bytes_value) / layers;
    for (size_t i = first; i < shape->n_layer * groups; i++) {
        const uint32_t layer = (uint32_t)(i / groups);
        if (cache->codecs->of[i] != cache->codecs->of[first + i % groups] || kvcache_sliding_of(&shape->sliding, layer))
            return kvant_fail(err, KVANT_INVALID, "a cache whose layer %u differs from layer %u cannot repeat it", layer,
                              cache->first_layer);
    }
#pragma omp parallel for
    for (size_t i = 1; i < layers; i++)
        memcpy(cache->memory + i * bytes, cache->memory, bytes);
    return KVANT_OK;
}

uint32_t kvcache_length(const kvcache *cache) { return cache->length; }
uint32_t kvcache_capacity(const kvcache *cache) { return cache->capacity; }
uint32_t kvcache_first_layer(const kvcache *cache) { return cache->first_layer; }
const kvcache_codecs *kvcache_codecs_of(const kvcache *cache) { return cache->codecs; }
void kvcache_advance(kvcache *cache, uint32_t n) { cache->length += n; }

kvcache_bytes kvcache_accounted(const kvcache_codecs *codecs, uint32_t length)
{
    const kvcache_shape *shape = &codecs->shape;
    const uint64_t f16 = 2u * (uint64_t)shape->head_dim;
    uint64_t bytes[2] = { 0, 0 }, all_f16 = 0;
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (uint32_t head = 0; head < shape->n_kv_head; head++)
            for (int side = 0; side < 2; side++) {
                const kvcache_rule rule = kvcache_rule_of(codecs, layer, head, side ? KVANT_VALUE : KVANT_KEY);
                const kvant_plan *plan = &rule.codec->plan;
                const kvcache_counts counts = kvcache_count(&rule, length);
                bytes[side] += counts.coded / plan->block * plan->code + (rule.copied ? counts.coded * f16 : 0) + counts.kept * f16 +
                               (plan->prompt && kvcache_coded(&rule, length) ? plan->trained : 0);
                all_f16 += side ? 0 : (length - kvcache_first_seen(&rule, length)) * f16;
            }
    return (kvcache_bytes){ .key = bytes[0], .value = bytes[1], .f16_key = all_f16, .f16_value = all_f16 };
}

kvcache_bytes kvcache_resident(const kvcache *cache)
{
    kvcache_bytes b = kvcache_accounted(cache->codecs, cache->capacity);
    b.key = cache->bytes_key;
    b.value = cache->bytes_value;
    return b;
}

/* ---- Appending ------------------------------------------------------------------------------- */

static size_t tile_bytes(const kvcache_codecs *codecs)
{
    return aligned(KVCACHE_TILE * (size_t)codecs->shape.head_dim * sizeof(float));
}

/* Scratch of the codecs, a tile that vectors are gathered in, and one that codes are decoded to for their copy. */
size_t kvcache_scratch(const kvcache_codecs *codecs)
{
    return aligned(codecs->scratch) + (codecs->policy.decode_reads == READS_COPY ? 2 : 1) * tile_bytes(codecs);
}

/* Codes of one part: `size` tokens of `codec`, of which those of an index are at index modulo size. copy: NULL, or where their copy
 * goes; tile: room to decode it in. */
typedef struct {
    const kvant_codec *codec;
    uint8_t *code;
    uint32_t size;
    const kvant_codec *f16;
    uint8_t *copy;
    float *tile;
} code_ring;

static code_ring codes_of(const kvcache *cache, const kvcache_rule *rule, const part *p, void *scratch)
{
    const kvcache_codecs *codecs = cache->codecs;
    code_ring r = { .codec = rule->codec, .code = p->codes, .size = codes_size(rule, cache->capacity), .f16 = codecs->f16 };
    if (rule->copied) {
        r.copy = p->copy;
        r.tile = (float *)((char *)scratch + aligned(codecs->scratch) + tile_bytes(codecs));
    }
    return r;
}

/* Adds what is decoded of slots first ... first+n-1 to their copy. */
static void copy_codes(const code_ring *r, uint32_t first, uint32_t n, void *scratch)
{
    for (uint32_t done = 0; done < n; done += KVCACHE_TILE) {
        const uint32_t m = min_u32(n - done, KVCACHE_TILE);
        kvant_decode(r->codec, r->code, first + done, m, r->tile, scratch);
        kvant_encode(r->f16, r->tile, first + done, m, r->copy, scratch);
    }
}

/* Encodes x [n][dim] as indices first ... first+n-1, and decodes them into *stored, which moves on, unless it is NULL. */
static void encode_ring(const code_ring *r, const float *x, uint32_t first, uint32_t n, float **stored, void *scratch)
{
    const size_t dim = r->codec->shape.dim;
    while (n > 0) {
        const uint32_t slot = first % r->size, m = min_u32(n, r->size - slot);
        kvant_encode(r->codec, x, slot, m, r->code, scratch);
        if (*stored) {
            kvant_decode(r->codec, r->code, slot, m, *stored, scratch);
            if (r->copy)
                kvant_encode(r->f16, *stored, slot, m, r->copy, scratch);
            *stored += m * dim;
        } else if (r->copy)
            copy_codes(r, slot, m, scratch);
        x += m * dim;
        first += m;
        n -= m;
    }
}

/* The same with vectors `stride` floats apart, gathered tile by tile. */
static void encode_strided(const code_ring *r, const float *x, size_t stride, uint32_t first, uint32_t n, float **stored, float *tile,
                           void *scratch)
{
    const size_t dim = r->codec->shape.dim;
    for (uint32_t done = 0; done < n;) {
        const uint32_t m = min_u32(n - done, KVCACHE_TILE);
        for (uint32_t i = 0; i < m; i++)
            memcpy(tile + i * dim, x + (done + i) * stride, dim * sizeof *tile);
        encode_ring(r, tile, first + done, m, stored, scratch);
        done += m;
    }
}

/* Ring slots from `slot` on, in at most two contiguous pieces: f16 forms of n vectors to or from x [n][dim]. */
static void ring_copy(const kvant_codec *f16, uint8_t *ring, uint32_t size, uint32_t index, uint32_t n, float *x, bool store,
                      void *scratch)
{
    while (n > 0) {
        const uint32_t slot = index % size, m = min_u32(n, size - slot);
        if (store)
            kvant_encode(f16, x, slot, m, ring, scratch);
        else
            kvant_decode(f16, ring, slot, m, x, scratch);
        x += (size_t)m * f16->shape.dim;
        index += m;
        n -= m;
    }
}

/* f16 forms of n vectors, `stride` floats apart, into out [n][dim]; code: room for a tile. */
static void make_halves(const kvant_codec *f16, const float *x, size_t stride, uint32_t n, float *out, uint8_t *code, void *scratch)
{
    const size_t dim = f16->shape.dim;
    for (uint32_t i = 0; i < n; i++)
        memcpy(out + i * dim, x + i * stride, dim * sizeof *out);
    for (uint32_t done = 0; done < n; done += KVCACHE_TILE) {
        const uint32_t m = min_u32(n - done, KVCACHE_TILE);
        kvant_encode(f16, out + done * dim, 0, m, code, scratch);
        kvant_decode(f16, code, 0, m, out + done * dim, scratch);
    }
}

/* The sequence's first tokens teach its codec; failures are the cache's, for appending has no status. */
static void train_part(kvcache *cache, part *p, const float *x)
{
    kvant_error why;
    const kvant_status status = kvant_train(&p->codec, x, p->codec.plan.train_min, &why);
    if (status != KVANT_OK)
#pragma omp critical(kvcache_trained)
    {
        cache->trained = status;
        cache->why = why;
    }
}

kvant_status kvcache_trained(const kvcache *cache, kvant_error *err)
{
    return cache->trained == KVANT_OK ? KVANT_OK : kvant_fail(err, cache->trained, "%s", cache->why.text);
}

/* n tokens whose index (position less sinks) starts at `index`: into the ring, and out of it into codes. */
static void append_staged(kvcache *cache, const kvcache_rule *rule, part *p, uint32_t index, const float *x, size_t stride,
                          uint32_t n, bool all_waiting, float *waiting, float **stored, void *scratch)
{
    const kvant_codec *f16 = cache->codecs->f16;
    const code_ring codes = codes_of(cache, rule, p, scratch);
    const size_t dim = f16->shape.dim;
    const uint32_t size = ring_size(rule, cache->capacity);
    const uint32_t old = kvcache_coded(rule, index + rule->sink), new = kvcache_coded(rule, index + n + rule->sink);
    const uint32_t held = index - old;                      /* waited before */
    float *fresh = waiting + held * dim;
    ring_copy(f16, p->ring, size, old, all_waiting ? held : min_u32(held, new - old), waiting, false, scratch);
    /* The new ones get their f16 form by a trip through the ring, as much of it at a time as is not needed any more. */
    for (uint32_t done = 0; done < n;) {
        const uint32_t m = min_u32(n - done, size);
        for (uint32_t i = 0; i < m; i++)
            memcpy(fresh + (done + i) * dim, x + (done + i) * stride, dim * sizeof *fresh);
        ring_copy(f16, p->ring, size, index + done, m, fresh + done * dim, true, scratch);
        ring_copy(f16, p->ring, size, index + done, m, fresh + done * dim, false, scratch);
        done += m;
    }
    if (rule->codec == &p->codec && !old && new)
        train_part(cache, p, waiting);
    encode_ring(&codes, waiting, old, new - old, stored, scratch);
    if (held + n > size)           /* what waits now may have been overwritten on that trip */
        ring_copy(f16, p->ring, size, new, index + n - new, waiting + (new - old) * dim, true, scratch);
}

void kvcache_append(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, size_t stride, uint32_t n,
                    bool all_waiting, float *waiting, float *stored, void *scratch)
{
    const kvcache_rule rule = kvcache_rule_in(cache, layer, head, side);
    part *p = part_of(cache, layer, head, side);
    const code_ring codes = codes_of(cache, &rule, p, scratch);
    const code_ring sinks = { .codec = cache->codecs->f16, .code = p->sink, .size = sinks_size(&rule, cache->capacity) };
    float *tile = (float *)((char *)scratch + aligned(cache->codecs->scratch));
    const uint32_t at = cache->length, in_sink = at < rule.sink ? min_u32(n, rule.sink - at) : 0;
    encode_strided(&sinks, x, stride, at, in_sink, &stored, tile, scratch);
    if (in_sink == n)
        return;
    x += in_sink * stride;
    const uint32_t index = at + in_sink - rule.sink;
    if (rule.staged) {
        append_staged(cache, &rule, p, index, x, stride, n - in_sink, all_waiting || n > 1, waiting, &stored, scratch);
        return;
    }
    encode_strided(&codes, x, stride, index, n - in_sink, &stored, tile, scratch);
    if (rule.raw && all_waiting)
        make_halves(cache->codecs->f16, x, stride, n - in_sink, waiting, (uint8_t *)tile, scratch);
}

/* Adds positions from ... from+n-1, which a ring of `size` has from `index` on, less what lies before `first`. */
static size_t add_ring(const kvant_codec *codec, const uint8_t *code, uint32_t size, uint32_t index, uint32_t from, uint32_t n,
                       uint32_t first, kvcache_run *runs)
{
    const uint32_t skip = first > from ? min_u32(first - from, n) : 0;
    size_t n_runs = 0;
    for (uint32_t done = skip; done < n;) {
        const uint32_t slot = (index + done) % size, m = min_u32(n - done, size - slot);
        runs[n_runs++] = (kvcache_run){ codec, code, slot, m, from + done };
        done += m;
    }
    return n_runs;
}

/* copy: codes by their copy, if they have one. */
static size_t list_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length, bool copy,
                        kvcache_run runs[KVCACHE_RUNS])
{
    const kvcache_rule rule = kvcache_rule_in(cache, layer, head, side);
    const part *p = part_of(cache, layer, head, side);
    const kvant_codec *f16 = cache->codecs->f16;
    const uint32_t first = kvcache_first_seen(&rule, length), sinks = min_u32(rule.sink, length);
    const uint32_t coded = length > sinks ? kvcache_coded(&rule, length) : 0;
    size_t n = add_ring(f16, p->sink, sinks_size(&rule, cache->capacity), 0, 0, sinks, first, runs);
    copy = copy && rule.copied;
    n += add_ring(copy ? f16 : rule.codec, copy ? p->copy : p->codes, codes_size(&rule, cache->capacity), 0, sinks, coded, first,
                  runs + n);
    return n + add_ring(f16, p->ring, ring_size(&rule, cache->capacity), coded, sinks + coded, length - sinks - coded, first,
                        runs + n);
}

size_t kvcache_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length,
                    kvcache_run runs[KVCACHE_RUNS])
{
    return list_runs(cache, layer, head, side, length, false, runs);
}

size_t kvcache_decode_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length,
                           kvcache_run runs[KVCACHE_RUNS])
{
    return list_runs(cache, layer, head, side, length, true, runs);
}
