/* kvcache.c - codes of keys and values per layer and KV head; sinks, the window and incomplete blocks in f16 by the f16 codec.
 * Tokens that ever wait in f16 are coded from their f16 form, in whatever way they were appended, so that the path of a token
 * through prefill or decode cannot be told from its code. */
#include "harness/lm/kvcache.h"

#include <stdlib.h>
#include <string.h>

/* Storage of one layer, head and side. */
typedef struct { uint8_t *codes, *sink, *ring; } part;

struct kvcache {
    const kvcache_codecs *codecs;
    uint32_t capacity, length;
    part *parts;                   /* [n_layer][n_kv_head][2] */
    uint8_t *memory;
    uint64_t bytes_key, bytes_value;
};

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static const kvant_codec *codec_of(const kvcache_codecs *codecs, uint32_t layer, kvant_side side)
{
    return side == KVANT_KEY ? &codecs->key[layer] : &codecs->value[layer];
}

/* kvant_open; a codec that has seen no vectors would code nothing. */
static kvant_status open_codec(const kvcache_policy *policy, const kvcache_side *side, const kvant_shape *shape, kvant_codec *codec,
                               kvant_error *err)
{
    const kvant_status status = kvant_open(side->quantizer, shape, &side->args, policy->isa, codec, err);
    if (status != KVANT_OK || !codec->plan.train_min)
        return status;
    kvant_close(codec);
    return kvant_fail(err, KVANT_SKIP, "%s: needs calibration data, which specs cannot give yet", side->quantizer->name);
}

kvant_status kvcache_codecs_open(const kvcache_policy *policy, const kvcache_shape *shape, kvcache_codecs *codecs,
                                 kvant_error *err)
{
    *codecs = (kvcache_codecs){ .policy = *policy, .shape = *shape };
    kvant_status status = KVANT_OK;
    codecs->key = calloc(shape->n_layer, sizeof *codecs->key);
    codecs->value = calloc(shape->n_layer, sizeof *codecs->value);
    if (!codecs->key || !codecs->value) {
        kvcache_codecs_close(codecs);
        return kvant_fail(err, KVANT_NOMEM, "no memory for the codecs of %u layers", shape->n_layer);
    }
    kvant_shape s = { .dim = shape->head_dim, .side = KVANT_VECTOR, .rope = shape->rope };
    const kvant_quantizer *f16 = kvant_find("f16", err);
    const kvant_args none = f16 ? kvant_defaults(f16->params) : (kvant_args){ 0 };
    status = f16 ? kvant_open(f16, &s, &none, policy->isa, &codecs->f16, err) : KVANT_INVALID;
    for (uint32_t layer = 0; layer < shape->n_layer && status == KVANT_OK; layer++) {
        s.layer = layer;
        s.seed = policy->seed + (policy->seed_rule == SEED_PER_LAYER ? layer : 0);
        s.side = KVANT_KEY;
        status = open_codec(policy, &policy->key, &s, &codecs->key[layer], err);
        s.side = KVANT_VALUE;
        if (status == KVANT_OK)
            status = open_codec(policy, &policy->value, &s, &codecs->value[layer], err);
    }
    if (status != KVANT_OK) {
        kvcache_codecs_close(codecs);
        return status;
    }
    codecs->scratch = codecs->f16.scratch;
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (int side = 0; side < 2; side++) {
            const kvant_codec *c = codec_of(codecs, layer, side ? KVANT_VALUE : KVANT_KEY);
            codecs->scratch = c->scratch > codecs->scratch ? c->scratch : codecs->scratch;
        }
    return KVANT_OK;
}

void kvcache_codecs_close(kvcache_codecs *codecs)
{
    for (uint32_t layer = 0; layer < codecs->shape.n_layer; layer++) {
        if (codecs->key)
            kvant_close(&codecs->key[layer]);
        if (codecs->value)
            kvant_close(&codecs->value[layer]);
    }
    kvant_close(&codecs->f16);
    free(codecs->key);
    free(codecs->value);
    *codecs = (kvcache_codecs){ 0 };
}

kvcache_rule kvcache_rule_of(const kvcache_codecs *codecs, uint32_t layer, kvant_side side)
{
    const kvant_codec *codec = codec_of(codecs, layer, side);
    return (kvcache_rule){ .codec = codec, .sink = codecs->policy.sink, .window = codecs->policy.window,
                           .staged = codecs->policy.window > 0 || codec->plan.block > 1 };
}

uint32_t kvcache_coded(const kvcache_rule *rule, uint32_t length)
{
    const uint64_t kept = (uint64_t)rule->sink + rule->window;
    const uint32_t free_of_window = length > kept ? (uint32_t)(length - kept) : 0;
    return free_of_window - free_of_window % (uint32_t)rule->codec->plan.block;
}

uint32_t kvcache_waiting_max(const kvcache_rule *rule, uint32_t n)
{
    return rule->staged ? rule->window + (uint32_t)rule->codec->plan.block - 1 + n : 0;
}

/* ---- Sizes and memory ------------------------------------------------------------------------ */

/* Tokens that the ring must hold: the window and a whole block, never more than the cache. */
static uint32_t ring_size(const kvcache_rule *rule, uint32_t capacity)
{
    return rule->staged ? (uint32_t)min_u32(capacity, rule->window + (uint32_t)rule->codec->plan.block) : 0;
}

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Bytes of the three areas of a part. */
typedef struct { size_t codes, sink, ring; } part_bytes;

static part_bytes part_size(const kvcache_codecs *codecs, uint32_t layer, kvant_side side, uint32_t capacity)
{
    const kvcache_rule rule = kvcache_rule_of(codecs, layer, side);
    return (part_bytes){ .codes = aligned(kvant_bytes(rule.codec, kvcache_coded(&rule, capacity))),
                         .sink = aligned(kvant_bytes(&codecs->f16, min_u32(rule.sink, capacity))),
                         .ring = aligned(kvant_bytes(&codecs->f16, ring_size(&rule, capacity))) };
}

kvant_status kvcache_open(const kvcache_codecs *codecs, uint32_t capacity, kvcache **cache, kvant_error *err)
{
    const kvcache_shape *shape = &codecs->shape;
    kvcache *c = calloc(1, sizeof *c);
    if (c)
        c->parts = calloc((size_t)shape->n_layer * shape->n_kv_head * 2, sizeof *c->parts);
    if (!c || !c->parts) {
        kvcache_close(c);
        return kvant_fail(err, KVANT_NOMEM, "no memory for a cache");
    }
    c->codecs = codecs;
    c->capacity = capacity;
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (int side = 0; side < 2; side++) {
            const part_bytes b = part_size(codecs, layer, side ? KVANT_VALUE : KVANT_KEY, capacity);
            *(side ? &c->bytes_value : &c->bytes_key) += (uint64_t)(b.codes + b.sink + b.ring) * shape->n_kv_head;
        }
    c->memory = kvant_alloc(c->bytes_key + c->bytes_value + 1);
    if (!c->memory) {
        const double mib = (double)(c->bytes_key + c->bytes_value) / 1048576;
        kvcache_close(c);
        return kvant_fail(err, KVANT_NOMEM, "no memory for a cache of %u tokens (%.1f MiB)", capacity, mib);
    }
    uint8_t *at = c->memory;
    part *p = c->parts;
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (uint32_t head = 0; head < shape->n_kv_head; head++)
            for (int side = 0; side < 2; side++, p++) {
                const part_bytes b = part_size(codecs, layer, side ? KVANT_VALUE : KVANT_KEY, capacity);
                p->codes = at;
                p->sink = p->codes + b.codes;
                p->ring = p->sink + b.sink;
                at = p->ring + b.ring;
            }
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

void kvcache_reset(kvcache *cache) { cache->length = 0; }
uint32_t kvcache_length(const kvcache *cache) { return cache->length; }
uint32_t kvcache_capacity(const kvcache *cache) { return cache->capacity; }
const kvcache_codecs *kvcache_codecs_of(const kvcache *cache) { return cache->codecs; }
void kvcache_advance(kvcache *cache, uint32_t n) { cache->length += n; }

kvcache_bytes kvcache_accounted(const kvcache_codecs *codecs, uint32_t length)
{
    const kvcache_shape *shape = &codecs->shape;
    const uint64_t f16 = 2u * (uint64_t)shape->head_dim;
    uint64_t bytes[2] = { 0, 0 };
    for (uint32_t layer = 0; layer < shape->n_layer; layer++)
        for (int side = 0; side < 2; side++) {
            const kvcache_rule rule = kvcache_rule_of(codecs, layer, side ? KVANT_VALUE : KVANT_KEY);
            const uint64_t coded = kvcache_coded(&rule, length);
            bytes[side] += (coded / rule.codec->plan.block * rule.codec->plan.code + (length - coded) * f16) * shape->n_kv_head;
        }
    const uint64_t all_f16 = f16 * length * shape->n_layer * shape->n_kv_head;
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

static part *part_of(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side)
{
    return &cache->parts[((size_t)layer * cache->codecs->shape.n_kv_head + head) * 2 + (side == KVANT_VALUE)];
}

size_t kvcache_scratch(const kvcache_codecs *codecs)
{
    return aligned(codecs->scratch) + aligned(KVCACHE_TILE * (size_t)codecs->shape.head_dim * sizeof(float));
}

/* Encodes n strided vectors as first ... first+n-1 of `code`, gathering them tile by tile. */
static void encode_strided(const kvant_codec *codec, const float *x, size_t stride, uint32_t first, uint32_t n, uint8_t *code,
                           float *tile, void *scratch)
{
    const size_t dim = codec->shape.dim;
    for (uint32_t done = 0; done < n;) {
        const uint32_t m = min_u32(n - done, KVCACHE_TILE);
        for (uint32_t i = 0; i < m; i++)
            memcpy(tile + i * dim, x + (done + i) * stride, dim * sizeof *tile);
        kvant_encode(codec, tile, first + done, m, code, scratch);
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

/* n tokens whose index (position less sinks) starts at `index`: into the ring, and out of it into codes. */
static void append_staged(const kvcache *cache, const kvcache_rule *rule, part *p, uint32_t index, const float *x, size_t stride,
                          uint32_t n, bool all_waiting, float *waiting, void *scratch)
{
    const kvant_codec *f16 = &cache->codecs->f16, *codec = rule->codec;
    const size_t dim = codec->shape.dim;
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
    kvant_encode(codec, waiting, old, new - old, p->codes, scratch);
    if (held + n > size)           /* what waits now may have been overwritten on that trip */
        ring_copy(f16, p->ring, size, new, index + n - new, waiting + (new - old) * dim, true, scratch);
}

void kvcache_append(kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, const float *x, size_t stride, uint32_t n,
                    bool all_waiting, float *waiting, void *scratch)
{
    const kvcache_rule rule = kvcache_rule_of(cache->codecs, layer, side);
    part *p = part_of(cache, layer, head, side);
    float *tile = (float *)((char *)scratch + aligned(cache->codecs->scratch));
    const uint32_t at = cache->length, in_sink = at < rule.sink ? min_u32(n, rule.sink - at) : 0;
    encode_strided(&cache->codecs->f16, x, stride, at, in_sink, p->sink, tile, scratch);
    if (in_sink == n)
        return;
    x += in_sink * stride;
    const uint32_t index = at + in_sink - rule.sink;
    if (rule.staged)
        append_staged(cache, &rule, p, index, x, stride, n - in_sink, all_waiting || n > 1, waiting, scratch);
    else
        encode_strided(rule.codec, x, stride, index, n - in_sink, p->codes, tile, scratch);
}

size_t kvcache_runs(const kvcache *cache, uint32_t layer, uint32_t head, kvant_side side, uint32_t length,
                    kvcache_run runs[KVCACHE_RUNS])
{
    const kvcache_rule rule = kvcache_rule_of(cache->codecs, layer, side);
    const part *p = part_of(cache, layer, head, side);
    const kvant_codec *f16 = &cache->codecs->f16;
    size_t n = 0;
    if (rule.sink > 0)
        runs[n++] = (kvcache_run){ f16, p->sink, 0, min_u32(rule.sink, length), 0 };
    if (length <= rule.sink)
        return n;
    const uint32_t coded = kvcache_coded(&rule, length), waits = length - rule.sink - coded;
    if (coded > 0)
        runs[n++] = (kvcache_run){ rule.codec, p->codes, 0, coded, rule.sink };
    if (waits > 0) {
        const uint32_t size = ring_size(&rule, cache->capacity), slot = coded % size, m = min_u32(waits, size - slot);
        runs[n++] = (kvcache_run){ f16, p->ring, slot, m, rule.sink + coded };
        if (waits > m)
            runs[n++] = (kvcache_run){ f16, p->ring, 0, waits - m, rule.sink + coded + m };
    }
    return n;
}
