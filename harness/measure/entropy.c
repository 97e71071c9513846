/* entropy.c - counts symbols and turns counts into bits: -sum p log2 p, with p the share of a symbol among all that were counted.
 * Counts are whole numbers, so that neither threads nor their order can change a sum. */
#include "harness/measure/entropy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool entropy_known(const kvant_codec *codec)
{
    return codec->ops.symbols && codec->plan.bits_asked <= ENTROPY_BITS;
}

double entropy_overhead(const kvant_codec *codec)
{
    return kvant_bits(codec) - codec->plan.bits_asked;
}

void entropy_add(const kvant_codec *codec, const uint8_t *code, size_t n, uint16_t *sym, uint64_t *count)
{
    kvant_symbols(codec, code, n, sym);
    #pragma omp critical(entropy)
    for (size_t i = 0; i < n * codec->shape.dim; i++)
        count[sym[i]]++;
}

void entropy_emit(probe_job *job, size_t cell, const char *metric, uint32_t chunk, const uint64_t *count)
{
    for (uint32_t s = 0; s < ENTROPY_SYMBOLS; s++)
        if (count[s])
            job->emit(job, cell, &(probe_sample) { metric, chunk, s, (double)count[s], 1 });
}

static bool is_count(const probe_sample *s, const char *counts)
{
    return s->idx < ENTROPY_SYMBOLS && !strcmp(s->metric, counts);
}

/* Mean code length and number of symbols of each chunk; returns how many chunks. */
static size_t lengths_by_chunk(const probe_sample *samples, size_t n, const char *counts, const double *table, double total,
                               double *length, double *weight)
{
    size_t chunks = 0;
    const probe_sample *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const probe_sample *s = &samples[i];
        if (!is_count(s, counts))
            continue;
        if (!last || s->chunk != last->chunk)
            length[chunks] = weight[chunks] = 0, chunks++;
        length[chunks - 1] -= s->value * log2(table[s->idx] / total);
        weight[chunks - 1] += s->value;
        last = s;
    }
    for (size_t i = 0; i < chunks; i++)
        length[i] /= weight[i];
    return chunks;
}

kvant_status entropy_result(const probe_sample *samples, size_t n, const char *counts, const char *overhead, const char *metric,
                            probe_result *result, bool *found, kvant_error *err)
{
    double *table = calloc(ENTROPY_SYMBOLS, sizeof *table), *length = calloc(2 * n + 1, sizeof *length), total = 0, beside = 0;
    kvant_status status = table && length ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "%s: no memory for %zu samples", metric, n);
    for (size_t i = 0; i < n && !status; i++) {
        if (is_count(&samples[i], counts)) {
            table[samples[i].idx] += samples[i].value;
            total += samples[i].value;
        } else if (!strcmp(samples[i].metric, overhead)) {
            beside = samples[i].value;
        }
    }
    *found = total > 0;
    if (*found) {
        size_t chunks = lengths_by_chunk(samples, n, counts, table, total, length, length + n);
        *result = probe_clustered(metric, length, length + n, chunks);
        result->value += beside;
        result->lo += beside;
        result->hi += beside;
    }
    free(table);
    free(length);
    return status;
}
