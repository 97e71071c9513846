/* roofs.c - see roofs.h. Everything that is timed has a sum that must come out: no compiler can have left it out, and no page was one
 * that the system never gave. */
#include "harness/measure/roofs.h"

#include "harness/measure/peaks.h"
#include "harness/sysinfo.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const double least = 2e-3;                  /* seconds that a loop of multiply-adds is timed */

size_t roofs_last_cache(void)
{
    const uint64_t bytes = sysinfo_last_cache("/");
    return bytes ? (size_t)bytes : (size_t)64 << 20;
}

/* Of one area: whole strides of the loops for any number of threads up to 64. */
static size_t area_words(void)
{
    const size_t piece = 64 * PEAK_WORDS, words = 2 * roofs_last_cache() / sizeof(uint64_t);
    return (words + piece - 1) / piece * piece;
}

size_t roofs_bytes(void) { return 2 * area_words() * sizeof(uint64_t); }

kvant_status roofs_open(roofs_memory *m, kvant_error *err)
{
    m->words = area_words();
    m->x = alloc_huge(m->words * sizeof *m->x);
    m->copy = alloc_huge(m->words * sizeof *m->copy);
    if (!m->x || !m->copy) {
        roofs_close(m);
        return kvant_fail(err, KVANT_NOMEM, "no memory for two areas larger than the processor's last cache (%zu bytes)",
                          roofs_bytes());
    }
    uint64_t word = 1;
    m->sum = 0;
    for (size_t i = 0; i < m->words; i++) {
        word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        m->x[i] = word;
        m->sum += word;
    }
    return KVANT_OK;
}

void roofs_close(roofs_memory *m)
{
    free(m->x);
    free(m->copy);
    *m = (roofs_memory){ 0 };
}

/* Words first ... first+n-1 of this thread, in whole strides. */
static size_t share_of(size_t words, size_t *first)
{
    const size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads(), strides = words / PEAK_WORDS;
    *first = strides * thread / threads * PEAK_WORDS;
    return strides * (thread + 1) / threads * PEAK_WORDS - *first;
}

static uint64_t read_all(const uint64_t *x, size_t words, int threads)
{
    peak_sum *const reader = peak_reader();
    uint64_t sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        size_t first, n = share_of(words, &first);
        sum += reader(x + first, n);
    }
    return sum;
}

static void copy_all(const roofs_memory *m, int threads)
{
#pragma omp parallel num_threads(threads)
    {
        size_t first, n = share_of(m->words, &first);
        memcpy(m->copy + first, m->x + first, n * sizeof *m->x);
    }
}

/* Multiply-adds a second; 0: there is no such loop. The rounds are doubled until they last; the best of those that the clock resolves
 * counts, for what disturbs one only makes it longer. */
static kvant_status time_loop(const peak_loop *loop, int threads, double *rate, kvant_error *err)
{
    double took = 0;
    *rate = 0;
    for (size_t rounds = PEAK_ROUNDS / 256; loop && took < least && rounds <= PEAK_ROUNDS; rounds *= 2) {
        double sum = 0;
        const double start = seconds_now();
#pragma omp parallel num_threads(threads) reduction(+ : sum)
        sum += loop->run(rounds);
        took = seconds_now() - start;
        const double products = loop->products * (double)rounds * threads;
        if (sum != products)
            return kvant_fail(err, KVANT_FAILED, "a loop of multiply-adds gave %.0f, and %.0f were to be done on %d threads", sum,
                              products, threads);
        if (took >= least / 8 || rounds == PEAK_ROUNDS)
            *rate = fmax(*rate, products / took);
    }
    return KVANT_OK;
}

kvant_status roofs_measure(const roofs_memory *m, int threads, roofs *out, kvant_error *err)
{
    const double bytes = (double)m->words * sizeof *m->x, start = seconds_now();
    const uint64_t sum = read_all(m->x, m->words, threads);
    const double middle = seconds_now();
    copy_all(m, threads);
    const double end = seconds_now();
    if (sum != m->sum || read_all(m->copy, m->words, threads) != m->sum)
        return kvant_fail(err, KVANT_FAILED, "memory that was read or copied has another sum than what was written");
    out->read = bytes / (middle - start);
    out->copy = bytes / (end - middle);
    kvant_status status = time_loop(peak_fma(), threads, &out->fma, err);
    if (!status)
        status = time_loop(peak_int8(), threads, &out->int8, err);
    if (!status)
        status = time_loop(peak_bf16(), threads, &out->bf16, err);
    return status;
}
