/* test_dataset.c - what datasets yield: moments of every distribution within sampling error, files as they were written,
 * and one clear error for every file that is not what it says. */
#include "tests/scratch.h"

#include "harness/input/dataset.h"
#include "harness/input/npy.h"
#include "harness/measure/stats.h"

#include <math.h>

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sf_gamma.h>
#include <zlib.h>

static kvant_status load(const char *name, const char *path, const char *args_text, kvant_data *data, kvant_error *err)
{
    const kvant_dataset *d = dataset_find(name, err);
    assert_non_null(d);
    kvant_args args = kvant_defaults(d->params);
    kvant_status status = kvant_parse(d->params, args_text, &args, err);
    return status ? status : d->load(path, &args, data, err);
}

static kvant_data drawn(const char *args)
{
    kvant_data data;
    assert_ok(load("synthetic", NULL, args, &data, err));
    return data;
}

static void plugins(void **state)
{
    (void)state;
    static const struct { const char *path, *name; } paths[] = {
        { "a/b.c/wiki.test.raw", "text" }, { "x.TXT", "text" }, { "jargon.txt.gz", "text" }, { "k.npy", "npy" },
        { "sift.fvecs", "fvecs" }, { "sift.bvecs", "fvecs" },
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const kvant_dataset *d = dataset_for_path(paths[i].path, NULL);
        assert_non_null(d);
        assert_string_equal(d->name, paths[i].name);
    }
    kvant_error err = { "" };
    assert_null(dataset_for_path("folder.npy/x", &err));
    assert_non_null(strstr(err.text, ".npy"));
    assert_null(dataset_for_path("x.bin", &err));
    assert_null(dataset_find("syntetic", &err));
    assert_non_null(strstr(err.text, "did you mean 'synthetic'"));
    for (const kvant_dataset *const *d = kvant_datasets(); *d; d++)
        assert_true(!strcmp((*d)->kind, "text") || !strcmp((*d)->kind, "vectors"));
}

/* ---- Distributions ------------------------------------------------------------------------- */

/* Checks the mean over vectors of `f` against its expectation, by the mean's own standard error. Vectors are independent,
 * coordinates need not be. */
static void expect_mean(const kvant_data *data, double (*f)(const float *x, size_t dim), double expected)
{
    double *values = malloc(data->n * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < data->n; i++)
        values[i] = f(data->x + i * data->dim, data->dim);
    stats_mean m = stats_of(values, data->n);
    free(values);
    if (!(fabs(m.mean - expected) <= 4.5 * m.se + 1e-9))
        fail_msg("%.8g instead of %.8g, standard error %.3g", m.mean, expected, m.se);
}

static double power(const float *x, size_t dim, double exponent, size_t lag)
{
    double sum = 0;
    for (size_t j = 0; j + lag < dim; j++)
        sum += lag ? (double)x[j] * (double)x[j + lag] : pow(fabs((double)x[j]), exponent);
    return sum / (double)(dim - lag);
}
static double first(const float *x, size_t dim) { (void)dim; return (double)x[0]; }
static double mean(const float *x, size_t dim)
{
    double sum = 0;
    for (size_t j = 0; j < dim; j++)
        sum += (double)x[j];
    return sum / (double)dim;
}
static double absolute(const float *x, size_t dim) { return power(x, dim, 1, 0); }
static double square(const float *x, size_t dim) { return power(x, dim, 2, 0); }
static double fourth(const float *x, size_t dim) { return power(x, dim, 4, 0); }
static double lag1(const float *x, size_t dim) { return power(x, dim, 0, 1); }
static double lag7(const float *x, size_t dim) { return power(x, dim, 0, 7); }
static double last_square(const float *x, size_t dim) { return (double)x[dim - 1] * (double)x[dim - 1]; }
static double beyond3(const float *x, size_t dim)
{
    double n = 0;
    for (size_t j = 0; j < dim; j++)
        n += fabs((double)x[j]) > 3;
    return n / (double)dim;
}

static void gaussian(void **state)
{
    (void)state;
    kvant_data d = drawn("distribution=gaussian,dim=48,n=6000,seed=1");
    assert_true(d.n == 6000 && d.dim == 48 && !d.text);
    expect_mean(&d, mean, 0);
    expect_mean(&d, absolute, sqrt(2 / M_PI));
    expect_mean(&d, square, 1);
    expect_mean(&d, fourth, 3);
    expect_mean(&d, lag1, 0);
    expect_mean(&d, beyond3, 2 * gsl_cdf_ugaussian_Q(3));
    data_free(&d);
}

static void sphere(void **state)
{
    (void)state;
    kvant_data d = drawn("dim=40,n=6000,seed=2");             /* the default distribution */
    for (size_t i = 0; i < d.n; i++) {
        double norm = square(d.x + i * 40, 40) * 40;
        assert_true(fabs(norm - 1) < 1e-6);
    }
    expect_mean(&d, first, 0);
    expect_mean(&d, last_square, 1. / 40);
    expect_mean(&d, fourth, 3. / (40 * 42));
    expect_mean(&d, lag1, 0);
    data_free(&d);
}

static void laplacian(void **state)
{
    (void)state;
    kvant_data d = drawn("distribution=laplacian,dim=48,n=6000,seed=3");
    expect_mean(&d, mean, 0);
    expect_mean(&d, absolute, sqrt(.5));
    expect_mean(&d, square, 1);
    expect_mean(&d, fourth, 6);
    expect_mean(&d, beyond3, exp(-3 * sqrt(2)));
    expect_mean(&d, lag1, 0);
    data_free(&d);
}

static void student_t(void **state)
{
    (void)state;
    /* The fourth moment is 9, but its own error is not finite: the tail is tested by its mass instead. */
    kvant_data d = drawn("distribution=student_t,dim=48,n=6000,seed=4");
    double scale = sqrt(3. / 5);
    expect_mean(&d, mean, 0);
    expect_mean(&d, absolute, scale * 2 * sqrt(5) * gsl_sf_gamma(3) / (4 * sqrt(M_PI) * gsl_sf_gamma(2.5)));
    expect_mean(&d, square, 1);
    expect_mean(&d, beyond3, 2 * gsl_cdf_tdist_Q(3 / scale, 5));
    expect_mean(&d, lag1, 0);
    data_free(&d);
}

static void correlated(void **state)
{
    (void)state;
    kvant_data d = drawn("distribution=correlated,dim=48,n=60000,seed=5");
    expect_mean(&d, first, 0);
    expect_mean(&d, square, 1);
    expect_mean(&d, last_square, 1);
    expect_mean(&d, lag1, .9);
    expect_mean(&d, lag7, pow(.9, 7));
    data_free(&d);
}

/* Mean square of each channel, and how many exceed `bound`. */
static size_t channels_above(const kvant_data *d, double bound, double *squares)
{
    size_t above = 0;
    for (size_t j = 0; j < d->dim; j++) {
        squares[j] = 0;
        for (size_t i = 0; i < d->n; i++)
            squares[j] += (double)d->x[i * d->dim + j] * (double)d->x[i * d->dim + j] / (double)d->n;
        above += squares[j] > bound;
    }
    return above;
}

static void outlier_channels(void **state)
{
    (void)state;
    double squares[65], error = sqrt(2. / 4000);              /* relative standard error of a Gaussian's mean square */
    kvant_data d = drawn("distribution=outlier_channels,dim=65,n=4000,seed=6");
    assert_int_equal(channels_above(&d, 10, squares), 3);
    for (size_t j = 0; j < 65; j++) {
        double expected = squares[j] > 10 ? 100 : 1;
        assert_true(fabs(squares[j] / expected - 1) <= 4.5 * error);
    }
    data_free(&d);
    d = drawn("distribution=outlier_channels,dim=8,n=4000,seed=6");
    assert_int_equal(channels_above(&d, 10, squares), 1);
    data_free(&d);
}

/* As many such channels, and the tails of 5 degrees of freedom in all: four times a Gaussian's mass lies beyond 3. */
static void heavy_outlier_channels(void **state)
{
    (void)state;
    double squares[65], beyond = 0, expected = 2 * gsl_cdf_tdist_Q(3 / sqrt(3. / 5), 5);
    kvant_data d = drawn("distribution=student_t_outliers,dim=65,n=4000,seed=6");
    assert_int_equal(channels_above(&d, 10, squares), 3);
    for (size_t i = 0; i < d.n; i++)
        for (size_t j = 0; j < 65; j++)
            beyond += fabs(d.x[i * 65 + j]) > (squares[j] > 10 ? 30 : 3);
    beyond /= 65. * (double)d.n;
    assert_true(fabs(beyond - expected) <= 4.5 * sqrt(expected / (65. * (double)d.n)));
    data_free(&d);
}

static void fixed_vectors(void **state)
{
    (void)state;
    kvant_data d = drawn("distribution=e1,dim=9,n=3");
    for (size_t i = 0; i < 27; i++)
        assert_true(d.x[i] == (i % 9 == 0 ? 1.f : 0.f));
    data_free(&d);
    d = drawn("distribution=constant,dim=16,n=3");
    for (size_t i = 0; i < 48; i++)
        assert_true(d.x[i] == .25f);
    data_free(&d);

    double squares[64], ups = 0;
    d = drawn("distribution=sparse4,dim=64,n=4000,seed=7");
    assert_int_equal(channels_above(&d, 1, squares), 4);
    for (size_t j = 0; j < 64; j++)
        assert_true(squares[j] > 1 ? fabs(squares[j] - 100) < 1e-9 * 100 : fabs(squares[j] / .01 - 1) <= 4.5 * sqrt(2. / 4000));
    for (size_t i = 0; i < d.n * 64; i++)
        ups += d.x[i] == 10.f;
    assert_true(fabs(ups - 8000) <= 4.5 * sqrt(16000 * .25));
    data_free(&d);
}

static void seeds(void **state)
{
    (void)state;
    const char *same = "distribution=gaussian,dim=8,n=4,seed=0";
    kvant_data a = drawn(same), b = drawn(same);
    assert_memory_equal(a.x, b.x, 32 * sizeof(float));
    assert_string_equal(a.sha256, b.sha256);
    /* Pinned: figures published from a seed must not change with a version. */
    assert_string_equal(a.sha256, "3a8ecedf858035cea155875b7ded53a8eeafe3a00914b4faf36259ab5288163a");
    data_free(&b);
    static const char *const others[] = { "distribution=gaussian,dim=8,n=4,seed=1", "distribution=sphere,dim=8,n=4,seed=0",
                                          "distribution=gaussian,dim=16,n=2,seed=0", "distribution=gaussian,dim=8,n=5,seed=0",
                                          "distribution=gaussian,dim=8,n=4,seed=4294967296" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        b = drawn(others[i]);
        assert_string_not_equal(a.sha256, b.sha256);
        data_free(&b);
    }
    data_free(&a);
    kvant_data d;
    assert_fails(load("synthetic", NULL, "dim=7", &d, err), KVANT_INVALID, "dim");
    assert_fails(load("synthetic", NULL, "distribution=gausian", &d, err), KVANT_INVALID, "gaussian");
    assert_fails(load("synthetic", NULL, "dim=4096,n=100000000", &d, err), KVANT_INVALID, "too many");
}

/* ---- Texts --------------------------------------------------------------------------------- */

static void write_gzip(const char *path, const char *data, size_t bytes)
{
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_true(!bytes || gzwrite(f, data, (unsigned)bytes) == (int)bytes);
    assert_int_equal(gzclose(f), Z_OK);
}

static void plain_texts(void **state)
{
    (void)state;
    static const char words[] = "\r\n Grüße \xf0\x9f\x90\xa7\n\n";
    char *folder = scratch_make(), *path = in_folder(folder, "a.txt"), hex[SHA256_HEX];
    kvant_data d;
    write_text(path, words);
    assert_ok(load("text", path, "", &d, err));
    assert_int_equal(d.bytes, strlen(words));
    assert_string_equal(d.text, words);
    assert_null(d.x);
    sha256_of(words, strlen(words), hex);
    assert_string_equal(d.sha256, hex);
    data_free(&d);
    write_bytes(path, "latin \xe9", 7);
    assert_fails(load("text", path, "", &d, err), KVANT_INVALID, "byte 6: not UTF-8");
    write_bytes(path, "", 0);
    assert_fails(load("text", path, "", &d, err), KVANT_INVALID, "no text");
    assert_fails(load("text", folder, "", &d, err), KVANT_INVALID, "not a regular file");
    unlink(path);
    assert_fails(load("text", path, "", &d, err), KVANT_IO, "No such file");
    free(path);
    scratch_remove(folder);
}

static void gzipped_texts(void **state)
{
    (void)state;
    enum { N = 3 << 20 };              /* larger than the first allocation, and not a multiple of anything */
    char *folder = scratch_make(), *path = in_folder(folder, "a.gz"), *words = malloc(N + 5), *packed;
    size_t bytes;
    kvant_data d;
    assert_non_null(words);
    uint32_t r = 1;
    for (int i = 0; i < N + 5; i++) {
        r = r * 1664525u + 1013904223u;
        words[i] = (char)('a' + (r >> 24) % 26);
    }
    write_gzip(path, words, N + 5);
    assert_ok(load("text", path, "", &d, err));
    assert_int_equal(d.bytes, N + 5);
    assert_memory_equal(d.text, words, N + 5);
    assert_int_equal(d.text[N + 5], 0);
    data_free(&d);
    assert_ok(file_read(path, &packed, &bytes, err));
    for (size_t cut = 1; cut < bytes; cut *= 3) {
        write_bytes(path, packed, bytes - cut);
        assert_fails(load("text", path, "", &d, err), KVANT_INVALID, "cannot unpack");
    }
    /* Letters coded by other letters' bits unpack without complaint: only the CRC tells. */
    packed[bytes / 2] ^= 0x10;
    write_bytes(path, packed, bytes);
    assert_fails(load("text", path, "", &d, err), KVANT_INVALID, "cannot unpack");
    write_gzip(path, "", 0);
    assert_fails(load("text", path, "", &d, err), KVANT_INVALID, "no text");
    free(packed);
    free(words);
    free(path);
    scratch_remove(folder);
}

/* ---- Vectors from files -------------------------------------------------------------------- */

static void npy_vectors(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "a.npy");
    const size_t shape[3] = { 2, 3, 8 }, flat[1] = { 48 }, narrow[2] = { 8, 6 };
    float x[48];
    npy_writer w;
    kvant_data d;
    for (int i = 0; i < 48; i++)
        x[i] = (float)i;
    assert_ok(npy_begin(&w, path, 3, shape, err));
    assert_ok(npy_rows(&w, x, 2, err));
    assert_ok(npy_end(&w, err));
    assert_ok(load("npy", path, "", &d, err));
    assert_true(d.n == 6 && d.dim == 8);
    assert_memory_equal(d.x, x, sizeof x);
    data_free(&d);
    assert_ok(load("npy", path, "n=5", &d, err));
    assert_int_equal(d.n, 5);
    data_free(&d);
    assert_fails(load("npy", path, "n=7", &d, err), KVANT_INVALID, "6 are there");

    x[13] = NAN;
    assert_ok(npy_begin(&w, path, 3, shape, err));
    assert_ok(npy_rows(&w, x, 2, err));
    assert_ok(npy_end(&w, err));
    assert_fails(load("npy", path, "", &d, err), KVANT_INVALID, "vector 1, coordinate 5 is not finite");
    assert_ok(npy_begin(&w, path, 1, flat, err));
    assert_ok(npy_rows(&w, x, 48, err));
    assert_ok(npy_end(&w, err));
    assert_fails(load("npy", path, "", &d, err), KVANT_INVALID, "rank 1");
    assert_ok(npy_begin(&w, path, 2, narrow, err));
    assert_ok(npy_rows(&w, x, 8, err));
    assert_ok(npy_end(&w, err));
    assert_fails(load("npy", path, "", &d, err), KVANT_INVALID, "dimension 6");
    free(path);
    scratch_remove(folder);
}

/* Vectors of dimension `dim` whose j-th number is j (mod 256), each number `size` bytes wide. */
static size_t make_vectors(unsigned char *file, int32_t dim, size_t n, size_t size)
{
    unsigned char *p = file;
    for (size_t i = 0; i < n; i++) {
        memcpy(p, &dim, 4);
        p += 4;
        for (int32_t j = 0; j < dim; j++, p += size) {
            float x = (float)j;
            if (size == 1)
                *p = (unsigned char)j;
            else
                memcpy(p, &x, 4);
        }
    }
    return (size_t)(p - file);
}

static void fvecs_vectors(void **state)
{
    (void)state;
    char *folder = scratch_make(), *paths[2] = { in_folder(folder, "a.fvecs"), in_folder(folder, "a.bvecs") };
    unsigned char file[2000];
    kvant_data d;
    for (size_t k = 0; k < 2; k++) {
        const char *path = paths[k];
        size_t size = k ? 1 : 4, bytes = make_vectors(file, 100, 3, size);
        write_bytes(path, file, bytes);
        assert_ok(load("fvecs", path, "", &d, err));
        assert_true(d.n == 3 && d.dim == 100);
        for (size_t i = 0; i < 300; i++)
            assert_true(d.x[i] == (float)(i % 100));
        data_free(&d);
        assert_ok(load("fvecs", path, "n=2", &d, err));
        assert_int_equal(d.n, 2);
        data_free(&d);
        assert_fails(load("fvecs", path, "n=4", &d, err), KVANT_INVALID, "3 are there");
        write_bytes(path, file, bytes - 1);
        assert_fails(load("fvecs", path, "", &d, err), KVANT_INVALID, "whole number of vectors");
        int32_t other = 99;
        memcpy(file + 4 + 100 * size, &other, 4);
        write_bytes(path, file, bytes);
        assert_fails(load("fvecs", path, "", &d, err), KVANT_INVALID, "vector 1: says dimension 99");
        static const int32_t wrong[] = { 0, -1, 7, 4097, INT32_MAX, INT32_MIN };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            memcpy(file, &wrong[i], 4);
            write_bytes(path, file, 1000);
            assert_fails(load("fvecs", path, "", &d, err), KVANT_INVALID, path);
        }
        write_bytes(path, file, 3);
        assert_fails(load("fvecs", path, "", &d, err), KVANT_INVALID, "does not begin");
        bytes = make_vectors(file, 7, 3, size);
        write_bytes(path, file, bytes);
        assert_fails(load("fvecs", path, "", &d, err), KVANT_INVALID, "dimension 7");
    }
    float infinite = (float)INFINITY;
    size_t bytes = make_vectors(file, 8, 2, 4);
    memcpy(file + 4, &infinite, 4);
    write_bytes(paths[0], file, bytes);
    assert_fails(load("fvecs", paths[0], "", &d, err), KVANT_INVALID, "not finite");
    free(paths[0]);
    free(paths[1]);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plugins), cmocka_unit_test(gaussian), cmocka_unit_test(sphere), cmocka_unit_test(laplacian),
        cmocka_unit_test(student_t), cmocka_unit_test(correlated), cmocka_unit_test(outlier_channels), cmocka_unit_test(heavy_outlier_channels), cmocka_unit_test(fixed_vectors),
        cmocka_unit_test(seeds), cmocka_unit_test(plain_texts), cmocka_unit_test(gzipped_texts), cmocka_unit_test(npy_vectors),
        cmocka_unit_test(fvecs_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
