/* forward.c - the forward pass of a batch of segments: embedding, every layer, the final norm, logits; or from a layer on.
 * Caches advance only when all of it went well. */
#include "harness/lm/dequant.h"
#include "harness/lm/pass.h"
#include "harness/lm/vecmath.h"
#include "harness/process.h"
#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

/* Ids, shape and type were checked when the batch was taken and the model loaded. */
static void embed(lm_pass *p)
{
    const lm_model *m = p->model;
    const size_t n_embd = m->shape.n_embd;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < p->n_rows; row++) {
        dequant_rows(m->embedding, (size_t)p->token[row], 1, p->x + row * n_embd, NULL);
        for (size_t i = 0; i < n_embd; i++)
            p->x[row * n_embd + i] *= m->shape.embedding_scale;
    }
}

/* residual NULL: from the embedding. */
static kvant_status begin_pass(lm_pass *p, const float *residual, kvant_error *err)
{
    const kvant_status status = lm_pass_set_up(p, err);
    if (status != KVANT_OK)
        return status;
    if (!residual != !p->first_layer)
        return kvant_fail(err, KVANT_INVALID, "a pass %s, but the caches begin at layer %u", residual ? "that resumes" : "from the first layer",
                          p->first_layer);
    const double start = seconds_now();
    if (residual)
        memcpy(p->x, residual, p->n_rows * p->model->shape.n_embd * sizeof *p->x);
    else
        embed(p);
    p->model->times.rest += seconds_now() - start;
    return KVANT_OK;
}

kvant_status lm_resume_hidden(lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, const float *residual,
                              float *hidden, const lm_observer *observe, kvant_error *err)
{
    if (n_segments == 0)
        return KVANT_OK;
    lm_pass p = { .model = m, .path = path, .segments = segments, .n_segments = n_segments };
    kvant_status status = begin_pass(&p, residual, err);
    for (uint32_t layer = p.first_layer; layer < m->shape.n_layer && status == KVANT_OK; layer++) {
        lm_run_layer(&p, layer, observe, &m->times);
        for (size_t i = 0; i < n_segments && status == KVANT_OK; i++)
            status = kvcache_trained(segments[i].cache, err);
        if (status == KVANT_OK && interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "interrupted");
    }
    if (status == KVANT_OK) {
        if (p.n_wanted > 0)
            lm_norm_rows(&p, &m->output_norm, p.x, hidden, p.n_wanted);
        for (size_t i = 0; i < n_segments; i++)
            kvcache_advance(segments[i].cache, segments[i].n);
        m->times.tokens += p.n_rows;
        m->times.layers += p.n_rows * (m->shape.n_layer - p.first_layer);
    }
    lm_pass_tear_down(&p);
    return status;
}

kvant_status lm_forward_hidden(lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, float *hidden,
                               const lm_observer *observe, kvant_error *err)
{
    return lm_resume_hidden(m, path, segments, n_segments, NULL, hidden, observe, err);
}

void lm_logits(lm_model *m, const float *hidden, size_t n, float *logits)
{
    const double start = seconds_now();
    const size_t n_vocab = m->shape.n_vocab;
    const float scale = m->shape.logit_scale, cap = m->shape.logit_cap;
    lm_apply(&m->output, hidden, m->shape.n_embd, n, logits, n_vocab);
    if (scale < 1 || scale > 1 || cap > 0) {
#pragma omp parallel for schedule(static)
        for (size_t row = 0; row < n; row++) {
            for (size_t i = 0; i < n_vocab; i++)
                logits[row * n_vocab + i] *= scale;
            if (cap > 0)
                vec_soft_cap(logits + row * n_vocab, n_vocab, cap);
        }
    }
    m->times.matmul += seconds_now() - start;
    m->times.logits += n;
}

kvant_status lm_forward(lm_model *m, lm_path path, const lm_segment *segments, size_t n_segments, float *logits,
                        const lm_observer *observe, kvant_error *err)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n_segments; i++)
        for (uint32_t t = 0; t < segments[i].n; t++)
            wanted += segments[i].want && segments[i].want[t];
    float *hidden = kvant_alloc((wanted + 1) * m->shape.n_embd * sizeof *hidden);
    if (!hidden)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu rows of the last layer", wanted);
    const kvant_status status = lm_forward_hidden(m, path, segments, n_segments, hidden, observe, err);
    if (status == KVANT_OK && wanted > 0)
        lm_logits(m, hidden, wanted, logits);
    free(hidden);
    return status;
}
