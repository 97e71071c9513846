/* test_views.c - the views say what their comments promise, and a merge leaves finished cells whole.
 * The SQL's errors and intervals are compared with stats.h, which is tested against closed values of its own. */
#include "harness/measure/stats.h"
#include "tests/stores.h"

static const double REFERENCE_NLL[4] = { 1.25, 2.5, 3.125, 2.0 }, WORSE_NLL[4] = { 1.5, 2.625, 3.625, 2.0 };

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static double ask(store *s, const char *format, const char *word)
{
    char *sql = text_format(format, word);
    double value = query_number(s, sql);
    free(sql);
    return value;
}

static void results(void **state)
{
    char *path = in_folder(*state, "result.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    store_cell f16 = made_cell("r", "f16", 16), open = made_cell("o", "affine 2b", 2.5);
    assert_ok(store_experiment(s, "e", "{}", err));
    finish_cell(s, "e", 0, &f16, run, REFERENCE_NLL);
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, "e", 1, &open, err));
    for (uint32_t u = 0; u < 3; u++)
        put_unit(s, "o", u, run, 2);
    put_result(s, "o", "nll", -1, 2, 0.1);
    assert_ok(store_commit(s, err));
    assert_near(query_number(s, "SELECT count(*) FROM result"), 2, 0);
    assert_near(query_number(s, "SELECT count(*) FROM result WHERE label <> 'f16' OR ordinal <> 0 OR n <> 4 OR unit <> 'nats'"), 0, 0);
    assert_near(query_number(s, "SELECT count(*) FROM paired"), 0, 0);
    store_close(s);
    free(path);
}

static void fronts(void **state)
{
    char *path = in_folder(*state, "pareto.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    /* c is beaten by b (as good, fewer bits), d by b (worse, more bits); e shares a's bits and loses; f ties with b in both. */
    const struct { const char *key; double bits, value; } cells[] = {
        { "a", 2, 3 }, { "b", 3, 2 }, { "c", 4, 2 }, { "d", 3.5, 2.5 }, { "e", 2, 4 }, { "f", 3, 2 }, { "g", 16, 1 },
    };
    for (uint32_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        store_cell cell = made_cell(cells[i].key, cells[i].key, cells[i].bits);
        const double nll[4] = { cells[i].value, cells[i].value, cells[i].value, cells[i].value };
        finish_cell(s, "e", i, &cell, run, nll);
        assert_ok(store_begin(s, err));
        put_result(s, cell.key, "score", 1, -cells[i].value, 0.1);       /* the same order with the sign turned */
        put_result(s, cell.key, "neither", 0, cells[i].value, 0.1);
        put_result(s, cell.key, "broken", -1, NAN, NAN);
        assert_ok(store_commit(s, err));
    }
    static const char front[] = "SELECT group_concat(cell, '') = 'abfg' FROM (SELECT cell FROM pareto WHERE metric = '%s' ORDER BY cell)";
    assert_near(ask(s, front, "nll"), 1, 0);
    assert_near(ask(s, front, "perplexity"), 1, 0);
    assert_near(ask(s, front, "score"), 1, 0);
    assert_near(query_number(s, "SELECT count(*) FROM pareto WHERE metric IN ('neither', 'broken')"), 0, 0);

    /* A better cell of another setting beats nobody here. */
    store_cell other = made_cell("z", "z", 1);
    other.pairing = "another";
    finish_cell(s, "e", 9, &other, run, (const double[4]){ 0.1, 0.1, 0.1, 0.1 });
    assert_near(query_number(s, "SELECT count(*) FROM pareto WHERE metric = 'nll'"), 5, 0);
    store_close(s);
    free(path);
}

static void differences(void **state)
{
    char *path = in_folder(*state, "paired.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    store_cell f16 = made_cell("r", "f16", 16), worse = made_cell("w", "affine 2b", 2.5), stranger = made_cell("x", "affine 3b", 3);
    stranger.pairing = "another";
    finish_cell(s, "e", 0, &f16, run, REFERENCE_NLL);
    finish_cell(s, "e", 1, &worse, run, WORSE_NLL);
    finish_cell(s, "e", 2, &stranger, run, WORSE_NLL);
    assert_near(query_number(s, "SELECT count(*) FROM paired"), 1, 0);
    stats_mean mean = stats_of((const double[]){ 0.25, 0.125, 0.5, 0 }, 4);
    stats_interval t = stats_t(mean, 0.95);
    assert_near(query_number(s, "SELECT difference FROM paired WHERE label = 'affine 2b' AND metric = 'nll'"), mean.mean, 1e-15);
    assert_near(query_number(s, "SELECT se FROM paired"), mean.se, 1e-15);
    assert_near(query_number(s, "SELECT lo FROM paired"), t.lo, 1e-9);
    assert_near(query_number(s, "SELECT hi FROM paired"), t.hi, 1e-9);
    assert_near(query_number(s, "SELECT n FROM paired"), 4, 0);
    assert_near(query_number(s, "SELECT reference_value FROM paired"), 2.21875, 1e-15);

    /* One value that was not finite leaves no difference at all. */
    store_cell broken = made_cell("b", "affine 1b", 1);
    finish_cell(s, "e", 3, &broken, run, (const double[4]){ 1, NAN, 2, 3 });
    assert_true(isnan(query_number(s, "SELECT difference FROM paired WHERE cell = 'b'")));
    assert_true(isnan(query_number(s, "SELECT lo FROM paired WHERE cell = 'b'")));
    store_close(s);
    free(path);
}

/* Chunks of unequal weight, two values each, any number of chunks: the SQL against stats_clustered and GSL's quantile. */
static void clusters(void **state)
{
    static const uint32_t counts[] = { 2, 3, 5, 10, 11, 12, 40 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        char name[32];
        snprintf(name, sizeof name, "clusters-%u.db", counts[c]);
        char *path = in_folder(*state, name);
        store *s = open_store(path);
        int64_t run = put_run(s, "kvant run");
        assert_ok(store_experiment(s, "e", "{}", err));
        double x[40], w[40];
        store_cell f16 = made_cell("r", "f16", 16), other = made_cell("o", "affine 2b", 2);
        f16.units = other.units = 1;
        assert_ok(store_begin(s, err));
        assert_ok(store_cell_put(s, "e", 0, &f16, err));
        assert_ok(store_cell_put(s, "e", 1, &other, err));
        assert_ok(store_unit(s, "r", 0, run, 1, 1, err));
        assert_ok(store_unit(s, "o", 0, run, 1, 1, err));
        for (uint32_t i = 0; i < counts[c]; i++) {
            x[i] = w[i] = 0;
            for (uint32_t idx = 0; idx < 2; idx++) {
                double n = 1 + (i * 7 + idx * 3) % 5, base = sin(i + idx), d = 0.1 + 0.05 * cos(3.0 * i + idx);
                assert_ok(store_sample(s, "r", 0, &(probe_sample){ "m", i, idx, base, n }, err));
                assert_ok(store_sample(s, "o", 0, &(probe_sample){ "m", i, idx, base + d, n }, err));
                x[i] += n * d;
                w[i] += n;
            }
            x[i] /= w[i];
        }
        assert_ok(store_cell_finish(s, "r", run, "now", err));
        assert_ok(store_cell_finish(s, "o", run, "now", err));
        assert_ok(store_commit(s, err));
        stats_mean mean = stats_clustered(x, w, counts[c]);
        stats_interval t = stats_t(mean, 0.95);
        assert_near(query_number(s, "SELECT difference FROM paired"), mean.mean, 1e-14);
        assert_near(query_number(s, "SELECT se FROM paired"), mean.se, 1e-14);
        assert_near(query_number(s, "SELECT lo FROM paired"), t.lo, 1e-5 * (t.hi - t.lo));
        assert_near(query_number(s, "SELECT hi FROM paired"), t.hi, 1e-5 * (t.hi - t.lo));
        store_close(s);
        free(path);
    }
}

static void twins(void **state)
{
    char *path = in_folder(*state, "identical.db");
    store *s = open_store(path);
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_experiment(s, "e", "{}", err));
    store_cell f16 = made_cell("a", "f16", 16), two = made_cell("b", "affine 2b", 2), four = made_cell("c", "affine 4b", 4),
               seed = made_cell("d", "affine 4b", 4), path_axis = made_cell("f", "affine 4b", 4), again = made_cell("g", "f16", 16);
    seed.config = "{\"key\":{\"quantizer\":\"affine 4b\"},\"seed\":1}";
    path_axis.pairing = "decode", path_axis.config = "{\"key\":{\"quantizer\":\"affine 4b\"},\"path\":\"decode\",\"seed\":0}";
    again.pairing = "decode";
    finish_cell(s, "e", 0, &f16, run, REFERENCE_NLL);
    finish_cell(s, "e", 1, &two, run, WORSE_NLL);
    assert_near(query_number(s, "SELECT count(*) FROM identical"), 0, 0);
    finish_cell(s, "e", 2, &four, run, WORSE_NLL);          /* 2 and 4 bits alike: somebody ignored `bits` */
    assert_near(query_number(s, "SELECT count(*) FROM identical WHERE metric = 'nll' AND label = 'affine 2b' "
                                "AND other_label = 'affine 4b'"), 1, 0);
    assert_near(query_number(s, "SELECT count(*) FROM identical"), 1, 0);
    finish_cell(s, "e", 3, &seed, run, WORSE_NLL);          /* another seed: 4 bits alike is no news, 2 and 4 is */
    assert_near(query_number(s, "SELECT count(*) FROM identical WHERE label = other_label"), 0, 0);
    finish_cell(s, "e", 4, &path_axis, run, WORSE_NLL);     /* another path gave the same bits: it was not taken */
    assert_near(query_number(s, "SELECT count(*) FROM identical WHERE cell = 'c' AND other_cell = 'f'"), 1, 0);
    finish_cell(s, "e", 5, &again, run, REFERENCE_NLL);
    assert_near(query_number(s, "SELECT count(*) FROM identical WHERE label = 'f16'"), 0, 0);

    /* The last bit counts, and integers do not. */
    store_cell near = made_cell("h", "affine 5b", 5), hits = made_cell("i", "affine 6b", 6), more = made_cell("j", "affine 7b", 7);
    finish_cell(s, "e", 6, &near, run, (const double[4]){ 1.5, 2.625, 3.625, nextafter(2.0, 3) });
    finish_cell(s, "e", 7, &hits, run, (const double[4]){ 1, 0, 1, 1 });
    finish_cell(s, "e", 8, &more, run, (const double[4]){ 1, 0, 1, 1 });
    assert_near(query_number(s, "SELECT count(*) FROM identical WHERE cell IN ('h', 'i') OR other_cell IN ('h', 'i')"), 0, 0);
    store_close(s);
    free(path);
}

/* ---- Merging -------------------------------------------------------------------------------------------------------------- */

static void merges(void **state)
{
    char *left = in_folder(*state, "left.db"), *right = in_folder(*state, "right ?#%.db");
    store_cell f16 = made_cell("r", "f16", 16), two = made_cell("b", "affine 2b", 2), four = made_cell("c", "affine 4b", 4),
               half = made_cell("h", "affine 3b", 3);
    store *a = open_store(left), *b = open_store(right);
    int64_t run_a = put_run(a, "kvant run --shard 1/2");
    put_run(b, "kvant check");
    int64_t run_b = put_run(b, "kvant run --shard 2/2");
    assert_int_not_equal(run_a, run_b);
    assert_ok(store_experiment(a, "e", "{}", err));
    assert_ok(store_experiment(b, "e", "{}", err));
    assert_ok(store_experiment(b, "only theirs", "{}", err));
    finish_cell(a, "e", 0, &f16, run_a, REFERENCE_NLL);
    finish_cell(b, "e", 0, &f16, run_b, WORSE_NLL);              /* known to both: ours stays */
    finish_cell(b, "e", 2, &four, run_b, WORSE_NLL);             /* only theirs is finished: comes over whole */
    assert_ok(store_begin(a, err));
    assert_ok(store_cell_put(a, "e", 2, &four, err));
    put_unit(a, "c", 0, run_a, 99);
    assert_ok(store_commit(a, err));
    finish_cell(a, "e", 1, &two, run_a, WORSE_NLL);              /* only ours is finished */
    assert_ok(store_begin(b, err));
    assert_ok(store_cell_put(b, "e", 1, &two, err));
    assert_ok(store_cell_put(b, "only theirs", 0, &half, err));  /* unknown here, unfinished there */
    put_unit(b, "b", 3, run_b, 77);
    put_unit(b, "h", 0, run_b, 1.5);
    assert_ok(store_commit(b, err));
    assert_ok(store_skip(b, "e", "odd", "{}", "96 is no power of two", err));
    store_check check = { "affine", "v1", "scalar", "oracle", NULL, NULL, NULL, NULL, 0.1, 0.1, NAN, 0, "pass" };
    assert_ok(store_check_put(b, run_b, &check, err));
    store_close(b);

    for (int again = 0; again < 2; again++) {
        uint64_t cells = 99;
        assert_ok(store_merge(a, right, &cells, err));
        assert_int_equal(cells, again ? 0 : 2);
        assert_near(query_number(a, "SELECT count(*) FROM run"), 3, 0);
        assert_near(query_number(a, "SELECT sum(value) FROM sample WHERE cell = 'r'"), 8.875, 0);
        assert_near(query_number(a, "SELECT sum(value) FROM sample WHERE cell = 'b'"), 9.75, 0);
        assert_near(query_number(a, "SELECT sum(value) FROM sample WHERE cell = 'c'"), 9.75, 0);
        assert_near(query_number(a, "SELECT count(*) FROM unit u JOIN run r ON r.id = u.run WHERE u.cell = 'c' "
                                    "AND r.command LIKE '%2/2'"), 4, 0);
        assert_near(query_number(a, "SELECT r.command LIKE '%2/2' FROM cell c JOIN run r ON r.id = c.run WHERE c.key = 'c'"), 1, 0);
        assert_near(query_number(a, "SELECT count(*) FROM result"), 6, 0);
        assert_near(query_number(a, "SELECT count(*) FROM unit WHERE cell = 'h'"), 1, 0);
        assert_near(query_number(a, "SELECT finished IS NULL FROM cell WHERE key = 'h'"), 1, 0);
        assert_near(query_number(a, "SELECT count(*) FROM experiment_cell"), 4, 0);
        assert_near(query_number(a, "SELECT count(*) FROM skip"), 1, 0);
        assert_near(query_number(a, "SELECT count(*) FROM \"check\""), 1, 0);
        assert_true(store_checked(a, "affine", "v1"));
        assert_near(query_number(a, "SELECT count(*) FROM pragma_foreign_key_check"), 0, 0);
    }

    kvant_error why = { "" };
    uint64_t cells;
    assert_int_equal(store_merge(a, left, &cells, &why), KVANT_INVALID);
    assert_non_null(strstr(why.text, "one of them"));
    char *missing = in_folder(*state, "missing.db"), *prose = in_folder(*state, "prose");
    assert_int_not_equal(store_merge(a, missing, &cells, NULL), KVANT_OK);
    write_text(prose, "No database at all, only a few lines of prose, which is long enough to fill a header of one hundred bytes.");
    assert_int_not_equal(store_merge(a, prose, &cells, NULL), KVANT_OK);
    uint64_t same = 0;
    assert_ok(store_merge(a, right, &same, err));                /* and the store still takes others */
    store_close(a);
    free(left);
    free(right);
    free(missing);
    free(prose);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results), cmocka_unit_test(fronts), cmocka_unit_test(differences), cmocka_unit_test(clusters),
        cmocka_unit_test(twins), cmocka_unit_test(merges),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
