/* pass.c - checks a batch before any cache changes, and lays out the working memory that its forward pass needs.
 * Memory is the model's own and grows to the largest batch that was seen. */
#include "harness/lm/pass.h"
#include "harness/util.h"

#include <omp.h>
#include <stdlib.h>

static kvant_status check_batch(const lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, kvant_error *err)
{
    for (size_t i = 0; i < n_segments; i++) {
        const lm_segment *s = &segments[i];
        const kvcache_shape *c = &kvcache_codecs_of(s->cache)->shape;
        const uint32_t length = kvcache_length(s->cache), capacity = kvcache_capacity(s->cache);
        if (c->n_layer != m->shape.n_layer || c->n_kv_head != m->shape.n_kv_head || c->head_dim != m->shape.head_dim)
            return kvant_fail(err, KVANT_INVALID, "the cache was made for a model of another shape");
        if (kvcache_first_layer(s->cache) != kvcache_first_layer(segments[0].cache))
            return kvant_fail(err, KVANT_INVALID, "caches of one batch begin at layers %u and %u", kvcache_first_layer(segments[0].cache),
                              kvcache_first_layer(s->cache));
        for (uint32_t layer = 0; layer < c->n_layer; layer++)
            if (kvcache_sliding_of(&c->sliding, layer) != kvcache_sliding_of(&m->shape.sliding, layer))
                return kvant_fail(err, KVANT_INVALID, "the cache was made for a model with other sliding windows");
        if (s->n == 0 || (path == LM_DECODE && s->n > 1))
            return kvant_fail(err, KVANT_INVALID, "a segment of %u tokens; the decode path takes one at a time", s->n);
        if (s->n > capacity - length || length + s->n > m->context)
            return kvant_fail(err, KVANT_INVALID, "%u tokens do not fit behind %u: the cache holds %u, the context is %u", s->n,
                              length, capacity, m->context);
        for (uint32_t t = 0; t < s->n; t++)
            if (s->tokens[t] < 0 || (uint32_t)s->tokens[t] >= m->shape.n_vocab)
                return kvant_fail(err, KVANT_INVALID, "token id %d is outside the vocabulary of %u", s->tokens[t],
                                  m->shape.n_vocab);
        for (size_t j = 0; j < i; j++)
            if (segments[j].cache == s->cache)
                return kvant_fail(err, KVANT_INVALID, "two segments of one batch share a cache");
    }
    return KVANT_OK;
}

/* Bytes of scratch that any thread needs, and vectors per KV head of each segment's sides (both the most over all layers). */
static void size_attention(lm_pass *p)
{
    const lm_shape *s = &p->model->shape;
    const uint32_t group = s->n_head / s->n_kv_head;
    size_t at = 0;
    p->scratch_bytes = 0;
    for (size_t i = 0; i < p->n_segments; i++) {
        const kvcache_codecs *codecs = kvcache_codecs_of(p->segments[i].cache);
        const uint32_t length = kvcache_length(p->segments[i].cache), n = p->segments[i].n;
        size_t rows[2] = { 0, 0 }, scratch = kvcache_scratch(codecs);
        if (p->path == LM_DECODE)
            scratch = attention_decode_scratch(codecs, group);
        for (uint32_t j = 0; j < s->n_layer * s->n_kv_head && p->path == LM_PREFILL; j++) {
            const uint32_t layer = j / s->n_kv_head, head = j % s->n_kv_head;
            const kvcache_rule k = kvcache_rule_of(codecs, layer, head, KVANT_KEY), v = kvcache_rule_of(codecs, layer, head, KVANT_VALUE);
            const size_t block = attention_block_scratch(&k, &v, length, n, group, s->head_dim);
            const size_t key_rows = attention_side_rows(&k, length, n), value_rows = attention_side_rows(&v, length, n);
            scratch = block > scratch ? block : scratch;
            rows[0] = key_rows > rows[0] ? key_rows : rows[0];
            rows[1] = value_rows > rows[1] ? value_rows : rows[1];
        }
        p->scratch_bytes = scratch > p->scratch_bytes ? scratch : p->scratch_bytes;
        p->side_first[2 * i] = at;
        p->side_first[2 * i + 1] = at += rows[0];
        at += rows[1];
    }
    p->side_first[2 * p->n_segments] = at;
    p->scratch_bytes = (p->scratch_bytes + 63) & ~(size_t)63;
}

/* Lays the arrays out in the model's working memory, in two rounds: the first only counts. */
static size_t lay_out(lm_pass *p, char *memory)
{
    const lm_shape *s = &p->model->shape;
    const size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    size_t used = 0;
#define PLACE(array, count)                                                       \
    do {                                                                          \
        (array) = memory ? (void *)(memory + used) : NULL;                        \
        used += (((size_t)(count) * sizeof *(array)) + 63) & ~(size_t)63;         \
    } while (0)
    PLACE(p->x, p->n_rows * s->n_embd);
    PLACE(p->normed, p->n_rows * s->n_embd);
    PLACE(p->qkv, p->n_rows * (q + 2 * kv));
    PLACE(p->attended, p->n_rows * q);
    PLACE(p->gate_up, p->n_rows * 2 * (s->n_ff > kv ? s->n_ff : kv));
    PLACE(p->worth, p->n_rows * s->n_expert);
    PLACE(p->routes, p->n_rows * s->n_used);
    PLACE(p->place, p->n_rows * s->n_used);
    PLACE(p->place_row, p->n_rows * s->n_used);
    PLACE(p->expert_first, s->n_expert + 1);
    PLACE(p->routed, p->n_rows * s->n_used * s->n_embd);
    PLACE(p->side_rows, p->side_first[2 * p->n_segments] * kv);
    PLACE(p->scratch, p->scratch_bytes * (size_t)omp_get_max_threads());
#undef PLACE
    return used;
}

kvant_status lm_pass_set_up(lm_pass *p, kvant_error *err)
{
    lm_model *m = p->model;
    const kvant_status status = check_batch(m, p->path, p->segments, p->n_segments, err);
    if (status != KVANT_OK)
        return status;
    p->first_layer = kvcache_first_layer(p->segments[0].cache);
    p->first_row = calloc(p->n_segments + 1, sizeof *p->first_row);
    p->side_first = calloc(2 * p->n_segments + 1, sizeof *p->side_first);
    p->sides = calloc(p->n_segments * m->shape.n_kv_head * 2, sizeof *p->sides);
    if (!p->first_row || !p->side_first || !p->sides)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %zu segments", p->n_segments);
    for (size_t i = 0; i < p->n_segments; i++) {
        p->first_row[i + 1] = p->first_row[i] + p->segments[i].n;
        for (uint32_t t = 0; t < p->segments[i].n; t++)
            p->n_wanted += p->segments[i].want && p->segments[i].want[t];
    }
    p->n_rows = p->first_row[p->n_segments];
    p->position = calloc(p->n_rows, sizeof *p->position);
    p->unrotated = calloc(p->n_rows, sizeof *p->unrotated);
    p->token = calloc(p->n_rows, sizeof *p->token);
    if (!p->position || !p->unrotated || !p->token)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %zu tokens", p->n_rows);
    uint32_t reach = 0;
    for (size_t i = 0; i < p->n_segments; i++)
        for (uint32_t t = 0; t < p->segments[i].n; t++) {
            const uint32_t position = kvcache_length(p->segments[i].cache) + t;
            reach = position >= reach ? position + 1 : reach;
            p->position[p->first_row[i] + t] = position;
            p->unrotated[p->first_row[i] + t] = kvcache_codecs_of(p->segments[i].cache)->policy.key_stage == KEYS_PRE_ROPE;
            p->token[p->first_row[i] + t] = p->segments[i].tokens[t];
        }
    const kvant_status reached = lm_rope_reach(m, reach, err);
    if (reached != KVANT_OK)
        return reached;
    size_attention(p);
    const size_t bytes = lay_out(p, NULL);
    if (bytes > m->work_bytes) {
        free(m->work);
        m->work_bytes = 0;
        m->work = kvant_alloc(bytes);
        if (!m->work)
            return kvant_fail(err, KVANT_NOMEM, "no memory for the activations of %zu tokens (%.1f MiB)", p->n_rows,
                              (double)bytes / 1048576);
        m->work_bytes = bytes;
    }
    lay_out(p, m->work);
    return KVANT_OK;
}

void lm_forget_work(lm_model *m)
{
    free(m->work);
    m->work = NULL;
    m->work_bytes = 0;
}

void lm_pass_tear_down(lm_pass *p)
{
    free(p->first_row);
    free(p->side_first);
    free(p->sides);
    free(p->position);
    free(p->unrotated);
    free(p->token);
}
