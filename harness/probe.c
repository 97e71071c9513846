/* probe.c - what the probes share: finding one by name, the metric that a result belongs to, and a text's tokens.
 * A text is tokenised whole, and chunks are cut from the ids: where a text is cut does not change its tokens. */
#include "harness/probe.h"

#include "harness/measure/stats.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const kvant_probe *probe_find(const char *name, kvant_error *err) { return plugin_find(kvant_probes(), "probe", name, err); }

const probe_metric *probe_metric_find(const kvant_probe *probe, const char *name)
{
    size_t length = strlen(name), stem = length;
    while (stem && isdigit((unsigned char)name[stem - 1]))
        stem--;
    for (const probe_metric *m = probe->metrics; m->name; m++) {
        if (!strcmp(m->name, name))
            return m;
        size_t n = strlen(m->name);
        bool numbered = stem < length && stem && name[stem - 1] == '_';
        if (numbered && n == stem + 1 && m->name[stem] == 'N' && !strncmp(m->name, name, stem))
            return m;
    }
    return NULL;
}

/* What the tokenizer puts before nothing at all is what it puts before every text: its BOS, or none (-1). */
static kvant_status find_bos(const tokenizer *tok, int32_t *bos, kvant_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    kvant_status status = tokenizer_encode(tok, "", 0, true, false, &ids, &n, err);
    if (!status)
        *bos = n && ids[0] == tokenizer_bos(tok) ? ids[0] : -1;
    free(ids);
    return status;
}

static kvant_status check_chunks(const lm_model *model, const int32_t *ids, size_t n, uint32_t context, uint32_t chunks,
                                 kvant_error *err)
{
    if (n / context < chunks)
        return kvant_fail(err, KVANT_INVALID, "text: it has %zu tokens, that is %zu chunks of %u, and %u are asked for; lower "
                          "chunks or context, or take a longer text", n, n / context, context, chunks);
    uint32_t n_vocab = lm_model_shape(model)->n_vocab;
    for (size_t i = 0; i < (size_t)chunks * context; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return kvant_fail(err, KVANT_INVALID, "text: its token %zu has id %d, and the model knows %u; the file's tokenizer "
                              "and weights do not belong together", i, ids[i], n_vocab);
    return KVANT_OK;
}

kvant_status probe_text(lm_model *model, const kvant_data *data, int32_t **ids, size_t *n, int32_t *bos, kvant_error *err)
{
    kvant_error why = { "" };
    const tokenizer *tok = lm_tokenizer(model, &why);
    if (!tok)
        return kvant_fail(err, KVANT_SKIP, "%s", why.text);
    *bos = -1;
    kvant_status status = find_bos(tok, bos, err);
    return status ? status : tokenizer_encode(tok, data->text, data->bytes, true, false, ids, n, err);
}

kvant_status probe_measures(probe_job *job, const int32_t *ids, size_t n, kvant_error *err)
{
    return job->measures ? job->measures(job, ids, n, err) : KVANT_OK;
}

kvant_status probe_chunks(probe_job *job, uint32_t context, uint32_t chunks, int32_t **ids, kvant_error *err)
{
    int32_t bos, *all;
    size_t n;
    kvant_status status = probe_text(job->model, job->data, &all, &n, &bos, err);
    if (status)
        return status;
    status = check_chunks(job->model, all, n, context, chunks, err);
    for (uint32_t i = 0; bos >= 0 && i < chunks && !status; i++)
        all[(size_t)i * context] = bos;
    if (!status)
        status = probe_measures(job, all, (size_t)context * chunks, err);
    if (status)
        free(all);
    else
        *ids = all;
    return status;
}

size_t probe_values(const probe_sample *samples, size_t n, const char *metric, double *x, double *w)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(samples[i].metric, metric)) {
            x[found] = samples[i].value;
            w[found++] = samples[i].n;
        }
    return found;
}

static bool next_unit(const probe_sample *last, const probe_sample *s)
{
    return s->chunk < last->chunk || (s->chunk == last->chunk && s->idx <= last->idx);
}

static bool next_chunk(const probe_sample *last, const probe_sample *s) { return s->chunk != last->chunk; }

static size_t pooled(const probe_sample *samples, size_t n, const char *metric,
                     bool (*next)(const probe_sample *last, const probe_sample *s), double *x, double *w)
{
    size_t found = 0;
    const probe_sample *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const probe_sample *s = &samples[i];
        if (strcmp(s->metric, metric))
            continue;
        if (!last || next(last, s))
            x[found] = w[found] = 0, found++;
        x[found - 1] += s->n * s->value;
        w[found - 1] += s->n;
        last = s;
    }
    for (size_t i = 0; i < found; i++)
        x[i] /= w[i];
    return found;
}

size_t probe_by_unit(const probe_sample *samples, size_t n, const char *metric, double *x, double *w)
{
    return pooled(samples, n, metric, next_unit, x, w);
}

size_t probe_by_chunk(const probe_sample *samples, size_t n, const char *metric, double *x, double *w)
{
    return pooled(samples, n, metric, next_chunk, x, w);
}

probe_result probe_clustered(const char *metric, const double *x, const double *w, size_t n)
{
    stats_mean mean = stats_clustered(x, w, n);
    stats_interval interval = stats_t(mean, 0.95);
    return (probe_result) { metric, mean.mean, (double)mean.n, mean.se, interval.lo, interval.hi };
}

probe_result probe_share(const char *metric, const double *x, size_t n)
{
    double ones = 0;
    for (size_t i = 0; i < n; i++)
        ones += x[i];
    const stats_interval wilson = stats_wilson(ones, (double)n, 0.95);
    return (probe_result){ metric, ones / (double)n, (double)n, NAN, wilson.lo, wilson.hi };
}

probe_result probe_exponential(const char *metric, probe_result mean)
{
    const double value = exp(mean.value);
    return (probe_result){ metric, value, mean.n, value * mean.se, exp(mean.lo), exp(mean.hi) };
}
