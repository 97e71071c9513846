/* sequence.c - common beginnings, agreement, edit distance, distinct n-grams, repeats and loops of token runs: see sequence.h.
 * Plain dynamic programming by rows: the runs are short, and the definitions can be read off. */
#include "harness/measure/sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t lesser(size_t a, size_t b) { return a < b ? a : b; }

size_t sequence_common(const int32_t *a, size_t na, const int32_t *b, size_t nb)
{
    size_t n = lesser(na, nb), i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

double sequence_agreement(const int32_t *a, size_t na, const int32_t *b, size_t nb, size_t n)
{
    size_t places = lesser(n, na > nb ? na : nb), both = lesser(places, lesser(na, nb)), equal = 0;
    for (size_t i = 0; i < both; i++)
        equal += a[i] == b[i];
    return places ? (double)equal / (double)places : (double)NAN;
}

size_t sequence_edits(const int32_t *a, size_t na, const int32_t *b, size_t nb, size_t *work)
{
    for (size_t j = 0; j <= nb; j++)
        work[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = work[0];             /* of a's first i-1 and b's first j-1 */
        work[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = work[j], substituted = diagonal + (a[i - 1] != b[j - 1]);
            work[j] = lesser(substituted, 1 + lesser(above, work[j - 1]));
            diagonal = above;
        }
    }
    return work[nb];
}

/* Any order of rows serves that keeps equal ones together. */
static int compare_grams(const void *a, const void *b, void *bytes) { return memcmp(a, b, *(const size_t *)bytes); }

double sequence_distinct(const int32_t *a, size_t n, size_t gram, int32_t *work)
{
    if (gram == 0 || gram > SEQUENCE_MAX_GRAM || n < gram)
        return (double)NAN;
    size_t grams = n - gram + 1, bytes = gram * sizeof *work, distinct = 1;
    for (size_t i = 0; i < grams; i++)
        memcpy(work + i * gram, a + i, bytes);
    qsort_r(work, grams, bytes, compare_grams, &bytes);
    for (size_t i = 1; i < grams; i++)
        distinct += memcmp(work + i * gram, work + (i - 1) * gram, bytes) != 0;
    return (double)distinct / (double)grams;
}

size_t sequence_repeat(const int32_t *a, size_t n, size_t *work)
{
    size_t longest = 0;
    memset(work, 0, (n + 1) * sizeof *work);
    /* work[j]: equal tokens that end at i-1 and, further on, at j-1; from the back, so that the row before is still there */
    for (size_t i = 1; i <= n; i++)
        for (size_t j = n; j > i; j--) {
            work[j] = a[i - 1] == a[j - 1] ? work[j - 1] + 1 : 0;
            longest = work[j] > longest ? work[j] : longest;
        }
    return longest;
}

size_t sequence_loop(const int32_t *a, size_t n)
{
    for (size_t period = 1; period <= n / 3; period++) {
        size_t run = period;
        while (run < n && a[n - 1 - run] == a[n - 1 - run + period])
            run++;
        if (run >= 3 * period && run >= SEQUENCE_LOOP)
            return period;
    }
    return 0;
}
