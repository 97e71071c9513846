/* test_shared.c - the parts that quantizers are made of: halves, bit packing, randomness, codebooks, rotations.
 * Against references computed another way, over all values where that is possible. */
#include "algorithms/shared/bits.h"
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/half.h"
#include "algorithms/shared/random.h"
#include "algorithms/shared/rotation.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_randist.h>
#include <math.h>

/* ---- Halves ------------------------------------------------------------------------------------------------ */

/* A format of one sign bit, `exponents` and `mantissa` bits, by its definition. */
static double value_of(unsigned bits, int exponents, int mantissa)
{
    int bias = (1 << (exponents - 1)) - 1, e = (int)(bits >> mantissa) & ((1 << exponents) - 1);
    double fraction = bits & ((1u << mantissa) - 1), sign = bits >> (exponents + mantissa) ? -1 : 1;
    if (e == (1 << exponents) - 1)
        return fraction != 0 ? NAN : sign * INFINITY;
    return sign * (e ? ldexp(fraction + ldexp(1, mantissa), e - bias - mantissa) : ldexp(fraction, 1 - bias - mantissa));
}

/* The nearest value of the format, ties to even, as a double. */
static double rounded(double x, int exponents, int mantissa)
{
    int bias = (1 << (exponents - 1)) - 1, e;
    if (!isfinite(x) || x == 0)
        return x;
    frexp(x, &e);
    e = (e - 1 < 1 - bias ? 1 - bias : e - 1) - mantissa;
    double r = ldexp(rint(ldexp(x, -e)), e), largest = ldexp(2 - ldexp(1, -mantissa), bias);
    return fabs(r) > largest ? copysign(INFINITY, x) : r;
}

static void same(double a, double b)
{
    if (isnan(a) ? !isnan(b) : !(a == b && signbit(a) == signbit(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void test_every_half(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        same(half_to_float((uint16_t)h), value_of(h, 5, 10));
        same(bf16_to_float((uint16_t)h), value_of(h, 8, 7));
        if ((h & 0x7fff) <= 0x7c00)
            assert_int_equal(float_to_half(half_to_float((uint16_t)h)), h);
        if ((h & 0x7fff) <= 0x7f80)
            assert_int_equal(float_to_bf16(bf16_to_float((uint16_t)h)), h);
    }
}

static void check_rounding(float x)
{
    same(half_to_float(float_to_half(x)), rounded(x, 5, 10));
    same(bf16_to_float(float_to_bf16(x)), rounded(x, 8, 7));
}

static void test_rounding_to_half(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {                    /* on, below and above every midpoint of halves */
        float middle = (float)((value_of(h, 5, 10) + (h == 0x7bff ? 65536 : value_of(h + 1, 5, 10))) / 2);
        const float near[] = { middle, nextafterf(middle, 0), nextafterf(middle, INFINITY) };
        for (int i = 0; i < 6; i++)
            check_rounding(i % 2 ? near[i / 2] : -near[i / 2]);
    }
    for (uint32_t bits = 0; bits < 0xffffff00u; bits += 6151)  /* every exponent, both signs, NaNs */
        check_rounding(float_of_bits(bits));
    check_rounding(INFINITY);
    check_rounding(-INFINITY);
    check_rounding(3.4028234e38f);
    check_rounding(1e-45f);
}

/* ---- Bits -------------------------------------------------------------------------------------------------- */

enum { MOST = 70 };

static void check_packing(const uint16_t *codes, size_t n, unsigned b)
{
    uint8_t packed[2 * MOST + 8], small[MOST], packed8[2 * MOST + 8], back8[MOST];
    uint16_t back[MOST];
    size_t bytes = bits_bytes(n, b);
    memset(packed, 0xa5, sizeof packed), memset(packed8, 0xa5, sizeof packed8);
    bits_pack16(packed, codes, n, b);
    for (size_t bit = 0; bit < 8 * bytes; bit++) {             /* the bit string, by its definition */
        unsigned expected = bit < n * b ? codes[bit / b] >> bit % b & 1u : 0;
        assert_int_equal(packed[bit / 8] >> bit % 8 & 1, expected);
    }
    assert_int_equal(packed[bytes], 0xa5);
    uint8_t *exact = malloc(bytes ? bytes : 1);                /* so that the sanitizer sees a read beyond */
    assert_non_null(exact);
    memcpy(exact, packed, bytes);
    bits_unpack16(back, exact, n, b);
    assert_memory_equal(back, codes, n * sizeof *back);
    if (b <= 8) {
        for (size_t i = 0; i < n; i++)
            small[i] = (uint8_t)codes[i];
        bits_pack(packed8, small, n, b);
        assert_memory_equal(packed8, packed, bytes + 1);
        bits_unpack(back8, exact, n, b);
        assert_memory_equal(back8, small, n);
    }
    free(exact);
}

static void test_packing(void **state)
{
    (void)state;
    uint16_t codes[MOST];
    gsl_rng *rng = random_open(1, RANDOM_SKETCH);
    assert_non_null(rng);
    for (unsigned b = 1; b <= 16; b++)
        for (size_t n = 0; n <= MOST; n++) {
            for (size_t i = 0; i < n; i++)
                codes[i] = (uint16_t)(gsl_rng_get(rng) & ((1u << b) - 1));
            check_packing(codes, n, b);
            for (size_t i = 0; i < n; i++)
                codes[i] = (uint16_t)((1u << b) - 1);
            check_packing(codes, n, b);
        }
    gsl_rng_free(rng);
}

/* ---- Randomness --------------------------------------------------------------------------------------------- */

/* States are made again from their seeds on other machines: the generator must never change. */
static void test_generator_is_stated(void **state)
{
    (void)state;
    static const struct { uint32_t seed; random_stream stream; unsigned long first; } known[] = {
        { 0, RANDOM_ROTATION, 2504280889u }, { 1, RANDOM_ROTATION, 2470586091u }, { 0, RANDOM_SKETCH, 613618338u },
        { 4294967295u, RANDOM_SKETCH, 3507906492u }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        gsl_rng *rng = random_open(known[i].seed, known[i].stream);
        assert_non_null(rng);
        assert_int_equal(gsl_rng_get(rng), known[i].first);
        gsl_rng_free(rng);
    }
}

/* ---- Codebooks ---------------------------------------------------------------------------------------------- */

static void test_gaussian_codebooks(void **state)
{
    (void)state;
    static const double mse[] = { 0, .3633802276, .1174818478, .0345477608, .0095010080, .0025046684, .0006442397, .0001634782,
                                  .0000411851 };
    static const double first[] = { 0, .797885, .452780, .245094, .128395, .065890, .033410, .016828, .008446 };
    static const double last[] = { 0, .797885, 1.510418, 2.151946, 2.732590, 3.260732, 3.744101, 4.189694, 4.603536 };
    static const double four[] = { .128395, .388048, .656759, .942340, 1.256231, 1.618046, 2.069017, 2.732590 };
    static const double five[] = { .065890, .198052, .331378, .466700, .604934, .747136, .894565, 1.048783, 1.211804, 1.386340,
                                   1.576228, 1.787233, 2.028728, 2.317739, 2.691120, 3.260732 };
    double c[256], got;
    for (unsigned b = 1; b <= 8; b++) {
        size_t n = (size_t)1 << b;
        assert_ok(codebook_solve(CODEBOOK_GAUSSIAN, 0, b, c, &got, err));
        assert_true(fabs(got - mse[b]) <= 5.1e-11);
        assert_true(fabs(c[n / 2] - first[b]) <= 5.1e-7);
        assert_true(fabs(c[n - 1] - last[b]) <= 5.1e-7);
        for (size_t i = 0; i < n; i++) {
            assert_true(c[i] == -c[n - 1 - i]);
            assert_true(i == 0 || c[i] > c[i - 1]);
            if (b == 4 && i >= 8)
                assert_true(fabs(c[i] - four[i - 8]) <= 5.1e-7);
            if (b == 5 && i >= 16)
                assert_true(fabs(c[i] - five[i - 16]) <= 5.1e-7);
        }
    }
}

static void test_laplacian_codebooks(void **state)
{
    (void)state;
    static const double mse[] = { 0, .5, .1761948811, .0544759879, .0153725271, .0041021800, .0010609523, .0002698738, .0000680617 };
    static const double four[] = { .123986, .404839, .728650, 1.110984, 1.577786, 2.177347, 3.016858, 4.431072 };
    double c[256], got;
    for (unsigned b = 1; b <= 8; b++) {
        size_t n = (size_t)1 << b;
        assert_ok(codebook_solve(CODEBOOK_LAPLACIAN, 0, b, c, &got, err));
        assert_true(fabs(got - mse[b]) <= 5.1e-11);
        for (size_t i = 0; i < n; i++) {
            assert_true(c[i] == -c[n - 1 - i]);
            assert_true(i == 0 || c[i] > c[i - 1]);
            if (b == 4 && i >= 8)
                assert_true(fabs(c[i] - four[i - 8]) <= 5.1e-7);
        }
        /* The last cell has no end: its mean is one scale beyond its threshold. */
        assert_true(fabs(c[n - 1] - (n > 2 ? (c[n - 2] + c[n - 1]) / 2 : 0) - sqrt(.5)) <= 1e-10);
    }
}

static void test_exact_codebooks(void **state)
{
    (void)state;
    static const struct { uint32_t d; double mse[4]; } table[] = {
        { 32, { .353357, .111600, .032261, .008774 } }, { 64, { .358387, .114526, .033391, .009132 } },
        { 96, { .360056, .115508, .033773, .009253 } }, { 128, { .360889, .116000, .033966, .009315 } },
        { 200, { .361787, .116533, .034175, .009381 } }, { 256, { .362136, .116740, .034256, .009408 } },
        { 1536, { .363173, .117358, .034499, .009485 } }
    };
    double c[256], got;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (unsigned b = 1; b <= 4; b++) {
            assert_ok(codebook_solve(CODEBOOK_EXACT, table[i].d, b, c, &got, err));
            assert_true(fabs(got - table[i].mse[b - 1]) <= 5.1e-7);
        }
}

/* Every dimension solves at every width, and its error lies between the bounds of the paper (theorem 1) and below that of one
 * bit less. */
/* Two-bit centroids of the angles psi = (u + pi/2) / 2 of PolarQuant's levels 2, 3 and 4; and every number of bits solves. */
static void test_angle_codebooks(void **state)
{
    (void)state;
    static const struct { uint32_t exponent; double psi[4]; } levels[] = { { 1, { .30976, .63398, .93682, 1.26104 } },
        { 3, { .42625, .67438, .89641, 1.14455 } }, { 7, { .52421, .70591, .86489, 1.04658 } } };
    double c[1 << CODEBOOK_MAX_BITS], got, last;
    for (size_t i = 0; i < 3; i++) {
        assert_ok(codebook_solve(CODEBOOK_ANGLE, levels[i].exponent, 2, c, &got, err));
        for (size_t k = 0; k < 4; k++)
            assert_true(fabs((c[k] + M_PI_2) / 2 - levels[i].psi[k]) <= 6e-6);
        last = INFINITY;
        for (unsigned b = 1; b <= CODEBOOK_MAX_BITS; b++, last = got) {
            assert_ok(codebook_solve(CODEBOOK_ANGLE, levels[i].exponent, b, c, &got, err));
            assert_true(got > 0 && got < last / 2);
        }
    }
    assert_fails(codebook_solve(CODEBOOK_ANGLE, 0, 2, c, &got, err), KVANT_INVALID, "dim 0");
}

static void test_every_codebook_solves(void **state)
{
    (void)state;
    double c[256], got, before;
    for (uint32_t d = 8; d <= 4096; d += d < 300 ? 1 : 61) {
        before = 1;
        for (unsigned b = 1; b <= 8; b++) {
            assert_ok(codebook_solve(CODEBOOK_EXACT, d, b, c, &got, err));
            assert_true(got >= pow(4, -(double)b) && got <= sqrt(3) * M_PI / 2 * pow(4, -(double)b) && got < before);
            assert_true(c[(1u << b) - 1] < sqrt(d));
            before = got;
        }
    }
    assert_fails(codebook_solve(CODEBOOK_GAUSSIAN, 0, 0, c, &got, err), KVANT_INVALID, "0 bits");
    assert_fails(codebook_solve(CODEBOOK_GAUSSIAN, 0, 9, c, &got, err), KVANT_INVALID, "9 bits");
    assert_fails(codebook_solve(CODEBOOK_EXACT, 3, 2, c, &got, err), KVANT_INVALID, "dim 3");
}

/* Nearest, the lower one of two equal ones: by x - c < c' - x in an order that double does exactly. */
static unsigned nearest(const float *c, size_t n, double x)
{
    unsigned best = 0;
    for (unsigned k = 1; k < n; k++)
        if (2 * x > (double)c[best] + c[k])
            best = k;
    return best;
}

static void test_threshold_search_is_argmin(void **state)
{
    (void)state;
    double c[256];
    float centroids[256], thresholds[255];
    gsl_rng *rng = random_open(2, RANDOM_SKETCH);
    assert_non_null(rng);
    for (unsigned b = 1; b <= 8; b++) {
        size_t n = (size_t)1 << b;
        assert_ok(codebook_solve(CODEBOOK_EXACT, 128, b, c, NULL, err));
        for (size_t k = 0; k < n; k++)
            centroids[k] = (float)(c[k] / sqrt(128));
        codebook_thresholds(centroids, n, thresholds);
        for (size_t k = 0; k + 1 < n; k++) {
            float x = thresholds[k];
            for (int step = -3; step <= 3; step++) {
                float y = x;
                for (int i = 0; i < abs(step); i++)
                    y = nextafterf(y, step < 0 ? -INFINITY : INFINITY);
                assert_int_equal(codebook_index(thresholds, b, y), nearest(centroids, n, y));
            }
        }
        for (int i = 0; i < 20000; i++) {
            float x = (float)gsl_ran_gaussian(rng, .15);
            assert_int_equal(codebook_index(thresholds, b, x), nearest(centroids, n, x));
        }
        assert_int_equal(codebook_index(thresholds, b, 0), n / 2 - 1);         /* a tie, to the lower one */
        assert_int_equal(codebook_index(thresholds, b, -INFINITY), 0);
        assert_int_equal(codebook_index(thresholds, b, INFINITY), n - 1);
        assert_int_equal(codebook_index(thresholds, b, NAN), 0);
    }
    gsl_rng_free(rng);
}

/* ---- Rotations ------------------------------------------------------------------------------------------------ */

enum { D = 8, SEEDS = 4000 };

/* Sums over seeds of entries and of their squares. */
typedef struct { double sum[D][D], square[D][D]; } moments;

static void add_matrix(moments *m, const float *p)
{
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++) {
            m->sum[i][j] += p[i * D + j];
            m->square[i][j] += (double)p[i * D + j] * p[i * D + j];
        }
}

/* Largest |z| of E P_ij = 0 and of E P_ij^2 = 1/d. An entry of a Haar matrix is a coordinate of a random unit vector: variance 1/d,
 * and its square has variance 2 (d - 1) / (d^2 (d + 2)). */
static void largest_z(const moments *m, double *of_mean, double *of_square)
{
    *of_mean = *of_square = 0;
    for (size_t i = 0; i < D; i++)
        for (size_t j = 0; j < D; j++) {
            double mean = m->sum[i][j] / SEEDS, square = m->square[i][j] / SEEDS;
            *of_mean = fmax(*of_mean, fabs(mean) * sqrt((double)SEEDS * D));
            *of_square = fmax(*of_square, fabs(square - 1. / D) / sqrt(2. * (D - 1) / (D * D * (D + 2.)) / SEEDS));
        }
}

static void matrix_of(rotation_kind kind, uint32_t d, const float *table, float *p)
{
    float *e = calloc(d, sizeof *e), *y = calloc(d, sizeof *y);
    assert_non_null(e);
    assert_non_null(y);
    for (uint32_t j = 0; j < d; j++) {
        e[j] = 1;
        rotation_forward(kind, d, table, e, 1, y);
        for (uint32_t i = 0; i < d; i++)
            p[i * d + j] = y[i];
        e[j] = 0;
    }
    free(e), free(y);
}

static void test_rotation_moments(void **state)
{
    (void)state;
    static const rotation_kind kinds[] = { ROTATION_HAAR, ROTATION_HADAMARD };
    for (size_t k = 0; k < 2; k++) {
        moments m = { .sum = { { 0 } } };
        double of_mean, of_square;
        for (uint32_t seed = 0; seed < SEEDS; seed++) {
            float table[D * D], p[D * D];
            assert_ok(rotation_init(kinds[k], D, seed, table, err));
            matrix_of(kinds[k], D, table, p);
            add_matrix(&m, p);
        }
        largest_z(&m, &of_mean, &of_square);                   /* 64 entries: beyond 4.5 once in two thousand */
        assert_true(of_mean < 4.5);
        assert_true(of_square < 4.5);
    }
}

/* The gate above is there because of this: Q as QR gives it, its signs not fixed, is orthogonal and has the right squares. */
static void test_moments_see_unfixed_signs(void **state)
{
    (void)state;
    moments m = { .sum = { { 0 } } };
    double of_mean, of_square;
    gsl_matrix *a = gsl_matrix_alloc(D, D), *q = gsl_matrix_alloc(D, D), *r = gsl_matrix_alloc(D, D);
    gsl_vector *tau = gsl_vector_alloc(D);
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        float p[D * D];
        gsl_rng *rng = random_open(seed, RANDOM_ROTATION);
        for (size_t i = 0; i < D * D; i++)
            gsl_matrix_set(a, i / D, i % D, gsl_ran_gaussian_ziggurat(rng, 1));
        gsl_linalg_QR_decomp(a, tau);
        gsl_linalg_QR_unpack(a, tau, q, r);
        for (size_t i = 0; i < D * D; i++)
            p[i] = (float)gsl_matrix_get(q, i / D, i % D);
        add_matrix(&m, p);
        gsl_rng_free(rng);
    }
    largest_z(&m, &of_mean, &of_square);
    assert_true(of_mean > 20);
    assert_true(of_square < 4.5);
    gsl_matrix_free(a), gsl_matrix_free(q), gsl_matrix_free(r), gsl_vector_free(tau);
}

static void check_orthogonal(rotation_kind kind, uint32_t d, uint32_t seed)
{
    float *table = calloc(rotation_floats(kind, d), sizeof *table), *p = calloc((size_t)d * d, sizeof *p);
    float *x = calloc(5 * (size_t)d, sizeof *x), *y = calloc(5 * (size_t)d, sizeof *y), *back = calloc(5 * (size_t)d, sizeof *back);
    assert_true(table && p && x && y && back);
    assert_ok(rotation_init(kind, d, seed, table, err));
    matrix_of(kind, d, table, p);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            for (size_t k = 0; k < d; k++)
                dot += (double)p[k * d + i] * p[k * d + j];
            assert_true(fabs(dot - (i == j)) <= 1e-6);
        }
    for (size_t i = 0; i < 5 * (size_t)d; i++)
        x[i] = (float)(i % 17) - 8;
    rotation_forward(kind, d, table, x, 5, y);
    rotation_inverse(kind, d, table, y, 5, back);
    for (size_t i = 0; i < 5 * (size_t)d; i++)
        assert_true(fabs((double)back[i] - x[i]) <= 1e-4);
    for (size_t v = 0; v < 5; v++) {                           /* one at a time: the same bits */
        rotation_forward(kind, d, table, x + v * d, 1, back);
        assert_memory_equal(back, y + v * d, d * sizeof *y);
    }
    free(table), free(p), free(x), free(y), free(back);
}

static void test_rotations_are_orthogonal(void **state)
{
    (void)state;
    static const uint32_t dims[] = { 8, 9, 31, 64, 80, 128, 200 };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (uint32_t seed = 0; seed < 3; seed++) {
            check_orthogonal(ROTATION_HAAR, dims[i], seed);
            if (dims[i] % 8 == 0)
                check_orthogonal(ROTATION_HADAMARD, dims[i], seed);
        }
}

static void test_rotation_plans(void **state)
{
    (void)state;
    static const struct { rotation_kind kind; uint32_t d; size_t floats; const char *note; } plans[] = {
        { ROTATION_HAAR, 9, 81, "" }, { ROTATION_HADAMARD, 64, 64, "" }, { ROTATION_HADAMARD, 96, 96, "32" },
        { ROTATION_HADAMARD, 80, 80, "16" }, { ROTATION_NONE, 9, 0, "" }
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        kvant_plan plan = { .state = 4 };
        assert_ok(rotation_plan("test", plans[i].kind, plans[i].d, &plan, err));
        assert_int_equal(plan.state, 4 + plans[i].floats * sizeof(float));
        assert_int_equal(rotation_floats(plans[i].kind, plans[i].d), plans[i].floats);
        assert_true(plans[i].note[0] ? strstr(plan.note, plans[i].note) != NULL : plan.note[0] == '\0');
    }
    kvant_plan plan = { 0 };
    assert_fails(rotation_plan("test", ROTATION_HADAMARD, 100, &plan, err), KVANT_SKIP, "100");
}

static void test_seeds(void **state)
{
    (void)state;
    float a[D * D], b[D * D];
    assert_ok(rotation_init(ROTATION_HAAR, D, 7, a, err));
    assert_ok(rotation_init(ROTATION_HAAR, D, 7, b, err));
    assert_memory_equal(a, b, sizeof a);
    assert_ok(rotation_init(ROTATION_HAAR, D, 8, b, err));
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half), cmocka_unit_test(test_rounding_to_half), cmocka_unit_test(test_packing),
        cmocka_unit_test(test_generator_is_stated), cmocka_unit_test(test_gaussian_codebooks),
        cmocka_unit_test(test_laplacian_codebooks), cmocka_unit_test(test_exact_codebooks), cmocka_unit_test(test_angle_codebooks),
        cmocka_unit_test(test_every_codebook_solves), cmocka_unit_test(test_threshold_search_is_argmin),
        cmocka_unit_test(test_rotation_moments), cmocka_unit_test(test_moments_see_unfixed_signs),
        cmocka_unit_test(test_rotations_are_orthogonal), cmocka_unit_test(test_rotation_plans), cmocka_unit_test(test_seeds),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
