/* test_e8.c - the lattice codebook by exhaustion: 2^16 different points of E8 + 1/4, and the nearest of them for every input.
 * The method's file is compiled in, because its search has no other door. */
#define quantizer_e8 quantizer_e8_under_test
#include "algorithms/e8.c"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ALL = 1 << 16, INPUTS = 400 };
static e8 codebooks;
static float (*points)[DIM];

static int by_point(const void *a, const void *b) { return memcmp(a, b, sizeof *points); }

static int prepare(void **state)
{
    (void)state;
    init_patterns(&codebooks);
    init_near(&codebooks);
    points = calloc(ALL, sizeof *points);
    for (unsigned code = 0; points && code < ALL; code++)
        point_of(&codebooks, (uint16_t)code, points[code]);
    return points ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(points);
    return 0;
}

/* Shifted by the quarter, E8 is: all whole or all odd halves, with even sum. */
static void test_points(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        float sum = 0, square = 0, part = points[i][0] - quarter - floorf(points[i][0] - quarter);
        assert_true(part == 0 || part == .5f);
        for (size_t j = 0; j < DIM; j++) {
            float v = points[i][j] - quarter;
            assert_true(v - floorf(v) == part);
            sum += v;
            v = fabsf(points[i][j] - (i >> 15 ? -quarter : quarter));
            square += v * v;
        }
        assert_true(fmodf(sum, 2) == 0);
        assert_true(square <= 12);
    }
    float (*sorted)[DIM] = malloc(ALL * sizeof *sorted);
    assert_non_null(sorted);
    memcpy(sorted, points, ALL * sizeof *sorted);
    qsort(sorted, ALL, sizeof *sorted, by_point);
    for (size_t i = 1; i < ALL; i++)
        assert_true(by_point(sorted[i - 1], sorted[i]) != 0);
    free(sorted);
}

static void test_near(void **state)
{
    (void)state;
    size_t of_square[5] = { 0 };
    for (size_t i = 0; i < POINTS; i++) {
        of_square[(int)codebooks.near_square[i]]++;
        for (size_t k = 0; k < i; k++)
            assert_true(by_point(codebooks.near[i], codebooks.near[k]) != 0);
    }
    assert_int_equal(of_square[0], 1);
    assert_int_equal(of_square[2], 240);
    assert_int_equal(of_square[4], 15);
}

static double distance_sq(const float *a, const float *b)
{
    double sum = 0;
    for (size_t j = 0; j < DIM; j++)
        sum += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
    return sum;
}

/* Inside of the ball, around its surface, and far out; the code must stand for the point that was returned. */
static void test_nearest(void **state)
{
    (void)state;
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    size_t outside = 0;
    for (size_t i = 0; i < INPUTS; i++) {
        float y[DIM], o[DIM], again[DIM];
        for (size_t j = 0; j < DIM; j++)
            y[j] = (float)gsl_ran_gaussian(rng, i % 4 == 3 ? 5 : 1.03);
        double best = INFINITY;
        for (size_t k = 0; k < ALL; k++)
            best = fmin(best, distance_sq(y, points[k]));
        point_of(&codebooks, nearest(&codebooks, y, o), again);
        assert_memory_equal(o, again, sizeof o);
        assert_true(distance_sq(y, o) <= best * (1 + 1e-5));
        candidate c, other;
        round_to(y, 0, &c);
        round_to(y, 1, &other);
        outside += i % 4 != 3 && pattern_of(&codebooks, other.distance < c.distance ? other.v : c.v) == POINTS;
    }
    print_message("%zu of %d Gaussian blocks leave the ball\n", outside, INPUTS * 3 / 4);
    assert_true(outside > 0 && outside < INPUTS * 3 / 4);
    gsl_rng_free(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_points), cmocka_unit_test(test_near),
                                        cmocka_unit_test(test_nearest) };
    return cmocka_run_group_tests(tests, prepare, tear_down);
}
