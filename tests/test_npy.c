/* test_npy.c - .npy files written byte for byte as NumPy does, read back, and refused where they lie about themselves. */
#include "tests/scratch.h"

#include "harness/input/npy.h"

#include <math.h>

static void read_back(const char *path, char **data, size_t *bytes) { assert_ok(file_read(path, data, bytes, err)); }

/* The header that numpy.save gives for this shape: length 0x76, dict padded by spaces to 128 bytes in all. */
static void expect_header(const char *data, const char *shape)
{
    char header[129];
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    assert_memory_equal(data, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_memory_equal(data + 10, header, n);
    for (int i = 10 + n; i < 127; i++)
        assert_int_equal(data[i], ' ');
    assert_int_equal(data[127], '\n');
}

static void written_as_numpy_does(void **state)
{
    (void)state;
    static const struct { size_t rank, shape[4]; const char *text; } cases[] = {
        { 1, { 3 }, "(3,)" }, { 2, { 2, 3 }, "(2, 3)" }, { 4, { 1, 2, 3, 4 }, "(1, 2, 3, 4)" }, { 2, { 0, 5 }, "(0, 5)" },
    };
    char *folder = scratch_make(), *path = in_folder(folder, "a.npy"), *data;
    float x[24];
    for (int i = 0; i < 24; i++)
        x[i] = (float)i - .5f;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        npy_writer w;
        npy_array a;
        size_t bytes, n = 1;
        for (size_t i = 0; i < cases[c].rank; i++)
            n *= cases[c].shape[i];
        assert_ok(npy_begin(&w, path, cases[c].rank, cases[c].shape, err));
        size_t row = cases[c].shape[0] ? n / cases[c].shape[0] : 0;
        for (size_t i = 0; i < cases[c].shape[0]; i++)
            assert_ok(npy_rows(&w, x + i * row, 1, err));
        assert_ok(npy_end(&w, err));
        read_back(path, &data, &bytes);
        assert_int_equal(bytes, 128 + 4 * n);
        expect_header(data, cases[c].text);
        assert_memory_equal(data + 128, x, 4 * n);
        free(data);
        assert_ok(npy_read(path, &a, err));
        assert_int_equal(a.rank, cases[c].rank);
        assert_int_equal(a.n, n);
        assert_memory_equal(a.shape, cases[c].shape, a.rank * sizeof *a.shape);
        assert_memory_equal(a.x, x, 4 * n);
        free(a.x);
        assert_int_equal(count_files(folder), 1);
    }
    free(path);
    scratch_remove(folder);
}

static void rows_are_counted(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "a.npy");
    const size_t shape[2] = { 3, 2 }, huge[3] = { 2, SIZE_MAX / 2, 3 };
    const float x[8] = { 0 };
    npy_writer w;
    assert_ok(npy_begin(&w, path, 2, shape, err));
    assert_ok(npy_rows(&w, x, 2, err));
    assert_fails(npy_end(&w, err), KVANT_INVALID, "1 rows are missing");
    assert_ok(npy_begin(&w, path, 2, shape, err));
    assert_ok(npy_rows(&w, x, 2, err));
    assert_fails(npy_rows(&w, x, 2, err), KVANT_INVALID, "1 rows more");
    assert_ok(npy_begin(&w, path, 2, shape, err));
    npy_discard(&w);
    assert_fails(npy_begin(&w, path, 3, huge, err), KVANT_INVALID, "too large");
    assert_fails(npy_begin(&w, path, 0, shape, err), KVANT_INVALID, "rank 0");
    assert_fails(npy_begin(&w, path, 5, shape, err), KVANT_INVALID, "rank 5");
    assert_int_equal(count_files(folder), 0);
    free(path);
    scratch_remove(folder);
}

/* A file of the given version, header text and numbers. */
static kvant_status read_made(const char *path, int version, const char *header, const void *numbers, size_t bytes, npy_array *a,
                              kvant_error *err)
{
    size_t n = strlen(header);
    unsigned char start[12] = { 0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0, (unsigned char)n, (unsigned char)(n >> 8) };
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(start, 1, version == 1 ? 10 : 12, f);
    fwrite(header, 1, n, f);
    fwrite(numbers, 1, bytes, f);
    assert_int_equal(fclose(f), 0);
    return npy_read(path, a, err);
}

static void types_are_converted(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "a.npy");
    npy_array a;
    const uint16_t half[4] = { 0x3c00, 0xc100, 0x0001, 0x7bff };
    const double wide[4] = { 1, -2.5, 0x1p-24, 65504 }, many_wide[1] = { .1 };
    assert_ok(read_made(path, 1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }\n", half, sizeof half, &a, err));
    for (int i = 0; i < 4; i++)
        assert_true((double)a.x[i] == wide[i]);
    free(a.x);
    assert_ok(read_made(path, 2, "{\"shape\": (4,), 'fortran_order':False,'descr':'<f8'}", wide, sizeof wide, &a, err));
    for (int i = 0; i < 4; i++)
        assert_true((double)a.x[i] == wide[i]);
    free(a.x);
    assert_ok(read_made(path, 3, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", many_wide, 8, &a, err));
    assert_true(a.rank == 0 && a.n == 1 && a.x[0] == .1f);
    free(a.x);

    /* More numbers than are converted at a time. */
    enum { N = 20001 };
    double *long_one = malloc(N * sizeof *long_one);
    assert_non_null(long_one);
    for (int i = 0; i < N; i++)
        long_one[i] = i;
    assert_ok(read_made(path, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (20001, 1), }", long_one, N * 8, &a, err));
    for (int i = 0; i < N; i++)
        assert_true((double)a.x[i] == i);
    free(a.x);
    free(long_one);
    free(path);
    scratch_remove(folder);
}

static void lies_are_refused(void **state)
{
    (void)state;
    static const struct { const char *header, *message; } cases[] = {
        { "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", "Fortran order" },
        { "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "'>f4'" },
        { "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", "'<i4'" },
        { "{'descr': '<f', 'fortran_order': False, 'shape': (2,), }", "'<f'" },
        { "{'descr': '<f44', 'fortran_order': False, 'shape': (2,), }", "'<f44'" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "needs 12 bytes" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "needs 4 bytes" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 2), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551618,), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "too large" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }", "too large" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, }", "header: not a dict" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "header: not a dict" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", "header: not a dict" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "header: not a dict" },
        { "{'descr", "header: not a dict" },
        { "", "header: not a dict" },
    };
    char *folder = scratch_make(), *path = in_folder(folder, "a.npy");
    const float two[2] = { 1, 2 };
    npy_array a;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(read_made(path, 1, cases[i].header, two, sizeof two, &a, err), KVANT_INVALID, cases[i].message);
    assert_fails(read_made(path, 4, cases[0].header, two, 8, &a, err), KVANT_INVALID, "version 4.0");

    static const struct { const char *bytes; size_t n; const char *message; } starts[] = {
        { "", 0, "not a .npy" }, { "\x93NUMPY\x01\x00\x10", 9, "not a .npy" }, { "PK\x03\x04 is an .npz", 15, "not a .npy" },
        { "\x93NUMPY\x01\x00\x10\x00{'descr'", 18, "cut short" }, { "\x93NUMPY\x02\x00\x10\x00", 10, "cut short" },
        { "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12, "more than any array needs" },
        { "\x93NUMPY\x01\x00\x02\x00{\0", 12, "not a text" },
    };
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        write_bytes(path, starts[i].bytes, starts[i].n);
        assert_fails(npy_read(path, &a, err), KVANT_INVALID, starts[i].message);
    }
    assert_fails(npy_read(folder, &a, err), KVANT_IO, "not a regular file");
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_as_numpy_does), cmocka_unit_test(rows_are_counted), cmocka_unit_test(types_are_converted),
        cmocka_unit_test(lies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
