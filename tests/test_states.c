/* test_states.c - stored states: every quantizer's comes back bit for bit, and no damaged, renamed or foreign file is ever used.
 * Tables go out as .npy and come in again; what is no rotation, sketch or codebook does not. */
#include "algorithms/shared/random.h"
#include "harness/experiment/states.h"
#include "harness/input/npy.h"
#include "tests/scratch.h"

#include <gsl/gsl_randist.h>
#include <math.h>

enum { N = 2048, D = 128, CODED = 256 };

static float vectors[N * D];

static int fill_vectors(void **state)
{
    (void)state;
    gsl_rng *rng = random_open(3, RANDOM_SKETCH);
    for (size_t i = 0; i < N * D; i++)
        vectors[i] = (float)gsl_ran_gaussian(rng, i % 7 + 1);
    gsl_rng_free(rng);
    return 0;
}

static states_source source_of(const char *name, const char *given, uint32_t dim)
{
    kvant_error err = { "" };
    states_source source = { .quantizer = kvant_find(name, &err), .shape = { .dim = dim, .side = KVANT_VECTOR, .seed = 5 } };
    assert_non_null(source.quantizer);
    source.args = kvant_defaults(source.quantizer->params);
    if (kvant_parse(source.quantizer->params, given, &source.args, &err))
        fail_msg("%s", err.text);
    return source;
}

/* Path of a source's file. */
static char *file_of(const char *folder, const states_source *source)
{
    char *key;
    assert_ok(states_key(source, &key, err));
    char *path = states_path(folder, source, key);
    free(key);
    assert_non_null(path);
    return path;
}

static void assert_same_codes(const kvant_codec *a, const kvant_codec *b)
{
    static float x[2][CODED * D];
    const kvant_codec *codecs[2] = { a, b };
    uint8_t *code[2];
    size_t bytes = kvant_bytes(a, CODED);
    for (size_t i = 0; i < 2; i++) {
        void *scratch = kvant_alloc(codecs[i]->scratch);
        code[i] = kvant_alloc(bytes);
        assert_true(scratch && code[i]);
        kvant_encode(codecs[i], vectors, 0, CODED, code[i], scratch);
        kvant_decode(codecs[i], code[i], 0, CODED, x[i], scratch);
        free(scratch);
    }
    assert_memory_equal(code[0], code[1], bytes);
    assert_memory_equal(x[0], x[1], CODED * a->shape.dim * sizeof **x);
    free(code[0]);
    free(code[1]);
}

/* Made and stored, then found: the same state and the same codes as without a folder. Returns false when the shape does not suit. */
static bool round_trip(const char *folder, states_source source)
{
    kvant_error why = { "" };
    kvant_codec plain, made, found;
    states *s;
    kvant_status status = kvant_open(source.quantizer, &source.shape, &source.args, NULL, &plain, &why);
    if (status == KVANT_SKIP)
        return false;
    if (status)
        fail_msg("%s: %s", source.quantizer->name, why.text);
    if (plain.plan.train_min) {
        source.vectors = vectors;
        source.n = N * D / source.shape.dim;
        assert_ok(kvant_train(&plain, source.vectors, source.n, err));
    }
    assert_ok(states_open(folder, STATES_WRITE, &s, err));
    assert_ok(states_codec(s, &source, NULL, &made, err));
    assert_int_equal(states_counted(s).made, 1);
    states_close(s);
    assert_ok(states_open(folder, STATES_READ, &s, err));
    assert_ok(states_codec(s, &source, NULL, &found, err));
    assert_int_equal(states_counted(s).found, 1);
    assert_int_equal(states_counted(s).made, 0);
    states_close(s);
    assert_memory_equal(plain.state, made.state, plain.plan.state);
    if (memcmp(plain.state, found.state, plain.plan.state))
        fail_msg("%s: the state changed on disk", source.quantizer->name);
    assert_same_codes(&plain, &found);
    kvant_close(&plain);
    kvant_close(&made);
    kvant_close(&found);
    return true;
}

/* Every quantizer with every value of its choices, and the ends of its integers. */
static void test_every_quantizer(void **state)
{
    (void)state;
    char *folder = scratch_make();
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        const states_source plain = source_of((*q)->name, "", D);
        size_t done = round_trip(folder, plain);
        for (int i = 0; (*q)->params && (*q)->params[i].name; i++) {
            const kvant_param *p = &(*q)->params[i];
            states_source varied = plain;
            if (p->type == KVANT_CHOICE)
                for (int k = 0; p->choices[k]; k++) {
                    varied.args.v[i] = k;
                    done += k != (int)p->def && round_trip(folder, varied);
                }
            else if (p->type == KVANT_INT && !strstr(p->name, "bits")) {
                varied.args.v[i] = p->def > p->min ? p->min : p->def;
                varied.shape.seed = 100 + (uint32_t)i;         /* another state than those before, which would be found */
                done += round_trip(folder, varied);
            }
        }
        states_source small = plain;
        small.shape.dim = 64;
        done += round_trip(folder, small);
        if (!done)
            fail_msg("%s: no shape suited", (*q)->name);
    }
    scratch_remove(folder);
}

/* Two streams, whose state marks the outlier channels, trained and not. */
static void test_streams(void **state)
{
    (void)state;
    static const struct { const char *name, *given; } cases[] = {
        { "turboquant_mse", "bits=2,outlier_channels=32" }, { "turboquant_mse", "outlier_channels=32,rotation=hadamard,codebook=trained" },
        { "turboquant_mse", "outlier_channels=4,outlier_select=list,outlier_list=1+5+63+127" },
        { "turboquant_mse", "outlier_channels=16,outlier_source=prompt" }, { "turboquant_prod", "bits=3,outlier_channels=32" },
        { "turboquant_prod", "bits=1,outlier_channels=32,residual_norm=constant" }, { "rvq", "bits=4,stages=3,stage2=fitted,outlier_channels=8,outlier_bits=4" },
        { "qjl", "outlier_channels=8" }, { "qjl", "outlier_channels=8,sketch=gaussian,outlier_source=prompt" } };
    char *folder = scratch_make();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(round_trip(folder, source_of(cases[i].name, cases[i].given, D)));
    scratch_remove(folder);
}

/* Untrained states are found by shape without layer and head. */
static void test_no_layer(void **state)
{
    (void)state;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        kvant_shape shape = { .dim = D, .side = KVANT_KEY, .seed = 2 };
        kvant_codec a, b;
        assert_ok(kvant_open(*q, &shape, NULL, NULL, &a, err));
        shape.layer = 3;
        shape.head = 7;
        assert_ok(kvant_open(*q, &shape, NULL, NULL, &b, err));
        assert_memory_equal(a.state, b.state, a.plan.state);
        kvant_close(&a);
        kvant_close(&b);
    }
}

/* ---- Damage -------------------------------------------------------------------------------------- */

/* A small state with tables in a folder of its own: its bytes and its path. */
static char *make_small(const char *folder, const states_source *source, char **data, size_t *bytes)
{
    states *s;
    kvant_codec codec;
    assert_ok(states_open(folder, STATES_WRITE, &s, err));
    assert_ok(states_codec(s, source, NULL, &codec, err));
    kvant_close(&codec);
    states_close(s);
    char *path = file_of(folder, source);
    assert_ok(file_read(path, data, bytes, err));
    return path;
}

/* Every flipped byte is found, and the range that is named holds it. */
static void test_flipped(void **state)
{
    (void)state;
    char *folder = scratch_make(), *data;
    size_t bytes;
    const states_source source = source_of("affine", "rotation=hadamard,group_size=32", 32);
    char *path = make_small(folder, &source, &data, &bytes);
    assert_in_range(bytes, 100, 4096);
    for (size_t i = 0; i < bytes; i++) {
        states_file file;
        kvant_error err = { "" };
        size_t from, to;
        data[i] ^= 1 << i % 8;
        assert_int_equal(states_parse(path, data, bytes, &file, &err), KVANT_INVALID);
        assert_int_equal(strncmp(err.text, path, strlen(path)), 0);
        assert_int_equal(sscanf(err.text + strlen(path), ": bytes %zu to %zu", &from, &to), 2);
        assert_in_range(i, from, to);
        assert_non_null(strstr(err.text, "precompute"));
        data[i] ^= 1 << i % 8;
    }
    /* And by the whole way: neither used nor replaced. */
    states *s;
    kvant_codec codec;
    data[bytes / 2] ^= 4;
    write_bytes(path, data, bytes);
    assert_ok(states_open(folder, STATES_WRITE, &s, err));
    assert_fails(states_codec(s, &source, NULL, &codec, err), KVANT_INVALID, path);
    states_close(s);
    free(data);
    free(path);
    scratch_remove(folder);
}

/* In a file of many blocks the range is that of a block. */
static void test_flipped_block(void **state)
{
    (void)state;
    char *folder = scratch_make(), *data;
    size_t bytes;
    const states_source source = source_of("affine", "rotation=haar", D);
    char *path = make_small(folder, &source, &data, &bytes);
    states_file file;
    assert_in_range(bytes, 65536, 80000);
    data[50000] ^= 1;
    assert_fails(states_parse(path, data, bytes, &file, err), KVANT_INVALID, "bytes 49152 to 53247");
    data[50000] ^= 1;
    char block[4096];              /* blocks in another order match their own checksums, but not those before them */
    memcpy(block, data + 8192, 4096);
    memcpy(data + 8192, data + 12288, 4096);
    memcpy(data + 12288, block, 4096);
    assert_fails(states_parse(path, data, bytes, &file, err), KVANT_INVALID, "bytes 8192 to 12287");
    free(data);
    free(path);
    scratch_remove(folder);
}

static void test_truncated(void **state)
{
    (void)state;
    char *folder = scratch_make(), *data;
    size_t bytes;
    const states_source source = source_of("turboquant_mse", "bits=1,rotation=hadamard", 64);
    char *path = make_small(folder, &source, &data, &bytes);
    states_file file;
    for (size_t n = 0; n < bytes; n++) {
        char *cut = malloc(n ? n : 1);         /* of its size, for the address sanitizer */
        memcpy(cut, data, n);
        assert_fails(states_parse(path, cut, n, &file, err), KVANT_INVALID, path);
        free(cut);
    }
    free(data);
    free(path);
    scratch_remove(folder);
}

static void test_foreign(void **state)
{
    (void)state;
    char *folder = scratch_make(), *data;
    size_t bytes;
    const states_source source = source_of("turboquant_mse", "bits=2", D), other = source_of("turboquant_mse", "bits=3", D);
    char *path = make_small(folder, &source, &data, &bytes), *renamed = file_of(folder, &other);
    states *s;
    kvant_codec codec;
    assert_string_not_equal(path, renamed);
    write_bytes(renamed, data, bytes);
    assert_ok(states_open(folder, STATES_READ, &s, err));
    assert_fails(states_codec(s, &other, NULL, &codec, err), KVANT_INVALID, "renamed");
    states_close(s);
    data[8] = 2;
    write_bytes(path, data, bytes);
    assert_ok(states_open(folder, STATES_READ, &s, err));
    assert_fails(states_codec(s, &source, NULL, &codec, err), KVANT_INVALID, "version 2");
    states_close(s);
    assert_fails(states_open(path, STATES_READ, &s, err), KVANT_IO, "not a folder");
    free(renamed);
    renamed = in_folder(folder, "nowhere");
    assert_fails(states_open(renamed, STATES_READ, &s, err), KVANT_IO, renamed);
    free(data);
    free(path);
    free(renamed);
    scratch_remove(folder);
}

/* Sizes in a state are not taken from it: a well-formed file with other ones is refused. */
static void test_sizes(void **state)
{
    (void)state;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        const states_source source = source_of((*q)->name, "", D);
        kvant_codec codec, taken;
        assert_ok(kvant_open(source.quantizer, &source.shape, &source.args, NULL, &codec, err));
        uint32_t *first = codec.state;         /* the dimension, in all of them */
        *first += 1;
        assert_fails(kvant_open_state(source.quantizer, &source.shape, &source.args, NULL, codec.state, codec.plan.state, &taken, err),
                     KVANT_INVALID, "byte 0");
        *first -= 1;
        assert_fails(kvant_open_state(source.quantizer, &source.shape, &source.args, NULL, codec.state, codec.plan.state - 1, &taken, err),
                     KVANT_INVALID, "bytes");
        kvant_close(&codec);
    }
}

/* ---- Tables ---------------------------------------------------------------------------------------- */

typedef struct { char *folder, *npy; states *s; } tables;

static tables tables_open(void)
{
    tables t = { .folder = scratch_make() };
    char *states_folder = in_folder(t.folder, "states");
    t.npy = in_folder(t.folder, "table.npy");
    assert_ok(states_open(states_folder, STATES_WRITE, &t.s, err));
    free(states_folder);
    return t;
}

static void tables_close(tables *t)
{
    states_close(t->s);
    free(t->npy);
    scratch_remove(t->folder);
}

static void write_table(const char *path, size_t rank, size_t rows, size_t cols, const float *x)
{
    const size_t shape[2] = { rank == 2 ? rows : cols, cols };
    npy_writer w;
    assert_ok(npy_begin(&w, path, rank, shape, err));
    assert_ok(npy_rows(&w, x, shape[0], err));
    assert_ok(npy_end(&w, err));
}

/* What one seed's codec exports goes into another's, which then has it and is marked so. */
static void exchange(const char *name, const char *given, const char *part)
{
    tables t = tables_open();
    states_source from = source_of(name, given, D), into = from;
    kvant_codec codec, imported;
    char *origin, *again = in_folder(t.folder, "again.npy"), *one, *two;
    size_t bytes, bytes_again;
    from.shape.seed = 9;
    assert_ok(kvant_open(from.quantizer, &from.shape, &from.args, NULL, &codec, err));
    assert_ok(states_export(&codec, part, t.npy, err));
    assert_ok(states_imported(t.s, &into, &origin, err));
    assert_null(origin);
    states_close(t.s);
    char *folder = in_folder(t.folder, "states");
    assert_ok(states_open(folder, STATES_WRITE, &t.s, err));
    assert_ok(states_import(t.s, &into, part, t.npy, err));
    assert_ok(states_imported(t.s, &into, &origin, err));
    char hex[SHA256_HEX];
    assert_ok(sha256_file(t.npy, hex, err));
    assert_non_null(strstr(origin, part));
    assert_non_null(strstr(origin, hex));
    assert_ok(states_codec(t.s, &into, NULL, &imported, err));
    assert_ok(states_export(&imported, part, again, err));
    assert_ok(file_read(t.npy, &one, &bytes, err));
    assert_ok(file_read(again, &two, &bytes_again, err));
    assert_int_equal(bytes, bytes_again);
    assert_memory_equal(one, two, bytes);
    /* What was noted may not change. */
    assert_fails(states_import(t.s, &into, "nothing", t.npy, err), KVANT_INVALID, part);
    kvant_close(&codec);
    kvant_close(&imported);
    free(one);
    free(two);
    free(origin);
    free(again);
    free(folder);
    tables_close(&t);
}

static void test_exchange(void **state)
{
    (void)state;
    exchange("affine", "rotation=haar", "rotation");
    exchange("q4_0", "rotation=hadamard", "signs");
    exchange("e8", "", "rotation");
    exchange("turboquant_mse", "bits=2", "codebook");
    exchange("turboquant_mse", "outlier_channels=32,outlier_select=list,outlier_list=0+1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17+18+19+"
             "20+21+22+23+24+25+26+27+28+29+30+31", "outlier_rotation");
    exchange("turboquant_prod", "bits=4,m=64", "sketch");
    exchange("rvq", "bits=2,stages=3,stage2=true_scale", "codebook2");
    exchange("qjl", "m=96", "sketch");
    exchange("qjl", "outlier_channels=8,outlier_source=prompt", "outlier_sketch");
}

/* An exported Hadamard rotation is the matrix that queries go through. */
static void test_hadamard_matrix(void **state)
{
    (void)state;
    tables t = tables_open();
    const states_source source = source_of("nf4", "rotation=hadamard,group_size=32", 96);
    kvant_codec codec;
    npy_array r;
    static float prepared[96];
    assert_ok(kvant_open(source.quantizer, &source.shape, &source.args, NULL, &codec, err));
    assert_ok(states_export(&codec, "rotation", t.npy, err));
    assert_ok(npy_read(t.npy, &r, err));
    assert_int_equal(r.rank, 2);
    assert_true(r.shape[0] == 96 && r.shape[1] == 96);
    void *scratch = kvant_alloc(codec.scratch);
    kvant_query(&codec, vectors, 1, prepared, scratch);
    for (size_t i = 0; i < 96; i++) {
        double sum = 0;
        for (size_t j = 0; j < 96; j++)
            sum += (double)r.x[i * 96 + j] * vectors[j];
        assert_true(fabs(sum - prepared[i]) <= 1e-4);
    }
    assert_fails(states_import(t.s, &source, "rotation", t.npy, err), KVANT_INVALID, "signs");
    free(scratch);
    free(r.x);
    kvant_close(&codec);
    tables_close(&t);
}

static void test_refused(void **state)
{
    (void)state;
    tables t = tables_open();
    const states_source haar = source_of("affine", "rotation=haar", D), signs = source_of("affine", "rotation=hadamard", D);
    kvant_codec codec;
    npy_array r;
    assert_ok(kvant_open(haar.quantizer, &haar.shape, &haar.args, NULL, &codec, err));
    assert_ok(states_export(&codec, "rotation", t.npy, err));
    assert_ok(npy_read(t.npy, &r, err));
    r.x[5 * D + 7] += .01f;
    write_table(t.npy, 2, D, D, r.x);
    assert_fails(states_import(t.s, &haar, "rotation", t.npy, err), KVANT_INVALID, "not orthogonal");
    r.x[5 * D + 7] = NAN;
    write_table(t.npy, 2, D, D, r.x);
    assert_fails(states_import(t.s, &haar, "rotation", t.npy, err), KVANT_INVALID, "not finite");
    write_table(t.npy, 2, D - 1, D, r.x);
    assert_fails(states_import(t.s, &haar, "rotation", t.npy, err), KVANT_INVALID, "(128, 128)");
    write_table(t.npy, 1, 1, D, r.x);
    assert_fails(states_import(t.s, &signs, "signs", t.npy, err), KVANT_INVALID, "+1 and -1");
    assert_fails(states_import(t.s, &haar, "sketch", t.npy, err), KVANT_INVALID, "rotation");
    const states_source polar = source_of("polarquant", "", D), trained = source_of("kvquant", "", D);
    assert_fails(states_import(t.s, &polar, "cosines1", t.npy, err), KVANT_INVALID, "follows");
    assert_fails(states_import(t.s, &trained, "codebook", t.npy, err), KVANT_INVALID, "trained");
    char *folder = in_folder(t.folder, "states");
    assert_int_equal(count_files(folder), 0);              /* nothing half-done is left */
    free(folder);
    free(r.x);
    kvant_close(&codec);
    tables_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_quantizer), cmocka_unit_test(test_streams), cmocka_unit_test(test_no_layer), cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_flipped_block), cmocka_unit_test(test_truncated), cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_exchange), cmocka_unit_test(test_hadamard_matrix),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, fill_vectors, NULL);
}
