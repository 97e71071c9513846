/* test_sequence.c - measures of token runs against values counted by hand, and edits against a second way to compute them. */
#include "harness/measure/sequence.h"

#include <gsl/gsl_rng.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 128 };

/* Letters as tokens. */
static size_t tokens(const char *letters, int32_t out[ROOM])
{
    size_t n = strlen(letters);
    assert_true(n <= ROOM);
    for (size_t i = 0; i < n; i++)
        out[i] = letters[i];
    return n;
}

static void common_beginnings_and_agreement(void **state)
{
    (void)state;
    static const struct { const char *a, *b; size_t n, common; double agreement; } cases[] = {
        { "abcdef", "abcdef", 6, 6, 1 }, { "abcdef", "abXdeX", 6, 2, 4. / 6 }, { "abcdef", "abXdeX", 4, 2, .75 },
        { "abc", "abcdef", 6, 3, .5 },         /* what only one has is no agreement */
        { "abcdef", "abc", 2, 3, 1 }, { "abc", "", 8, 0, 0 }, { "xabc", "abc", 8, 0, 0 },
    };
    int32_t a[ROOM], b[ROOM];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t na = tokens(cases[i].a, a), nb = tokens(cases[i].b, b);
        assert_int_equal(sequence_common(a, na, b, nb), cases[i].common);
        assert_true(fabs(sequence_agreement(a, na, b, nb, cases[i].n) - cases[i].agreement) < 1e-15);
    }
    assert_true(isnan(sequence_agreement(a, 0, b, 0, 16)));
}

/* The recursive definition. */
static size_t edits(const int32_t *a, size_t na, const int32_t *b, size_t nb)
{
    if (na == 0 || nb == 0)
        return na + nb;
    size_t least = edits(a + 1, na - 1, b + 1, nb - 1) + (*a != *b), other = edits(a + 1, na - 1, b, nb) + 1;
    least = other < least ? other : least;
    other = edits(a, na, b + 1, nb - 1) + 1;
    return other < least ? other : least;
}

static void edits_are_the_fewest(void **state)
{
    (void)state;
    static const struct { const char *a, *b; size_t edits; } cases[] = {
        { "kitten", "sitting", 3 }, { "flaw", "lawn", 2 }, { "", "abc", 3 }, { "abc", "", 3 }, { "", "", 0 }, { "abc", "abc", 0 },
        { "abcdefgh", "bcdefgh", 1 }, { "abcd", "wxyz", 4 },
    };
    int32_t a[ROOM], b[ROOM];
    size_t work[ROOM + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t na = tokens(cases[i].a, a), nb = tokens(cases[i].b, b);
        assert_int_equal(sequence_edits(a, na, b, nb, work), cases[i].edits);
    }
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    for (int trial = 0; trial < 200; trial++) {
        size_t na = gsl_rng_uniform_int(rng, 8), nb = gsl_rng_uniform_int(rng, 8);
        for (size_t i = 0; i < 8; i++) {
            a[i] = (int32_t)gsl_rng_uniform_int(rng, 3);
            b[i] = (int32_t)gsl_rng_uniform_int(rng, 3);
        }
        assert_int_equal(sequence_edits(a, na, b, nb, work), edits(a, na, b, nb));
    }
    gsl_rng_free(rng);
}

static void distinct_grams_are_counted(void **state)
{
    (void)state;
    static const struct { const char *a; size_t gram; double share; } cases[] = {
        { "abcdefg", 4, 1 }, { "aaaaaaa", 4, .25 }, { "abcd", 4, 1 },
        { "abcdabcd", 4, .8 },     /* abcd bcda cdab dabc abcd: 4 of 5 */
        { "ababab", 2, .4 }, { "abca", 1, .75 },
    };
    int32_t a[ROOM], work[ROOM * 4];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = tokens(cases[i].a, a);
        assert_true(fabs(sequence_distinct(a, n, cases[i].gram, work) - cases[i].share) < 1e-15);
    }
    assert_true(isnan(sequence_distinct(a, 3, 4, work)));
    assert_true(isnan(sequence_distinct(a, 3, 0, work)));
    assert_true(isnan(sequence_distinct(a, 3, SEQUENCE_MAX_GRAM + 1, work)));
}

static void longest_repeats_are_found(void **state)
{
    (void)state;
    static const struct { const char *a; size_t longest; } cases[] = {
        { "", 0 }, { "a", 0 }, { "abcdef", 0 }, { "abcxab", 2 }, { "banana", 3 },          /* ana, overlapping */
        { "aaaaa", 4 }, { "xhelloyhelloz", 5 }, { "abcabcabc", 6 }, { "abcdeXbcdYcde", 3 },
    };
    int32_t a[ROOM];
    size_t work[ROOM + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = tokens(cases[i].a, a);
        assert_int_equal(sequence_repeat(a, n, work), cases[i].longest);
    }
}

static void loops_are_told_from_repeats(void **state)
{
    (void)state;
    int32_t a[ROOM];
    for (int32_t i = 0; i < ROOM; i++)
        a[i] = i;
    assert_int_equal(sequence_loop(a, ROOM), 0);
    for (size_t i = ROOM - SEQUENCE_LOOP; i < ROOM; i++)       /* exactly as long as it takes */
        a[i] = (int32_t)(1000 + i % 5);
    assert_int_equal(sequence_loop(a, ROOM), 5);
    assert_int_equal(sequence_loop(a, ROOM - 1), 0);
    a[ROOM - 1] = -1;                                          /* it was one, and has ended */
    assert_int_equal(sequence_loop(a, ROOM), 0);
    for (size_t i = ROOM - 60; i < ROOM; i++)
        a[i] = (int32_t)(1000 + i % 20);                       /* three times */
    assert_int_equal(sequence_loop(a, ROOM), 20);
    a[ROOM - 60] = -1;                                         /* not quite */
    assert_int_equal(sequence_loop(a, ROOM), 0);
    for (size_t i = 0; i < ROOM; i++)
        a[i] = 7;
    assert_int_equal(sequence_loop(a, ROOM), 1);
    assert_int_equal(sequence_loop(a, SEQUENCE_LOOP - 1), 0);
    assert_int_equal(sequence_loop(a, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_beginnings_and_agreement),
        cmocka_unit_test(edits_are_the_fewest),
        cmocka_unit_test(distinct_grams_are_counted),
        cmocka_unit_test(longest_repeats_are_found),
        cmocka_unit_test(loops_are_told_from_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
