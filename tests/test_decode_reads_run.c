/* test_decode_reads_run.c - decode_reads from a spec to a report, on the tiny model: what each way changes of perplexities by decode
 * and by prefill, the bytes that probes measure, and rows that name a way, the default too, which configs leave out. */
#include "harness/report/report_internal.h"
#include "tests/experiments.h"
#include "tests/tiny_model.h"

#include <math.h>

static char *model, *prose, *db;

/* A vector of 16 coordinates is 12 bytes in codes and 32 as f16; 4 of 64 tokens are sinks. */
#define ROW(where, metric, rest) "  { \"where\": {" where "}, \"metric\": \"" metric "\", " rest " }"
#define BYTES "\"probe\": \"bytes\", \"decode_reads\": "
static const char spec_text[] =
    "{ \"name\": \"ways\", \"probe\": [\"perplexity\", \"bytes\"], \"model\": \"%s\", \"data\": \"%s\", \"context\": 64,\n"
    "  \"chunks\": 2, \"controls\": false, \"path\": [\"prefill\", \"decode\"], \"sink\": 4,\n"
    "  \"decode_reads\": [\"codes\", \"decoded\", \"copy\"],\n"
    "  \"cache\": [{\"quantizer\": \"affine\", \"bits\": 4, \"group_size\": 16}, \"f16\"], \"expect\": [\n"
    ROW(BYTES "\"codes\", \"key\": \"affine\"", "bits_stored", "\"value\": 6.625, \"tolerance\": 1e-9") ",\n"
    ROW(BYTES "\"decoded\", \"key\": \"affine\"", "bits_stored", "\"value\": 6.625, \"tolerance\": 1e-9") ",\n"
    ROW(BYTES "\"copy\", \"key\": \"affine\"", "bits_stored", "\"value\": 21.625, \"tolerance\": 1e-9") ",\n"
    ROW(BYTES "\"copy\"", "copy of all", "\"value\": 0.9375, \"tolerance\": 1e-9, "
        "\"formula\": \"bytes_copy / (bytes_per_token_f16 * 64)\"") ",\n"
    ROW(BYTES "\"codes\", \"key\": \"f16\"", "bits_stored", "\"value\": 16, \"tolerance\": 0") ",\n"
    ROW("\"key\": \"f16\", \"decode_reads\": \"copy\"", "bits_stored", "\"value\": 16, \"tolerance\": 0") " ] }\n";

/* The nll of the affine cache by a path, read in one way: "codes" where the config says nothing. */
static double nll_of(const char *path, const char *reads)
{
    char *sql = text_format("SELECT m.value FROM cell c JOIN measurement m ON m.cell = c.key WHERE m.metric = 'nll' AND "
                            "c.key_quantizer = 'affine' AND json_extract(c.config, '$.probe.params.path') = '%s' AND "
                            "coalesce(json_extract(c.config, '$.decode_reads'), 'codes') = '%s'", path, reads);
    const double value = ask(db, sql);
    free(sql);
    return value;
}

static void test_values(void **state)
{
    (void)state;
    const double codes = nll_of("decode", "codes"), decoded = nll_of("decode", "decoded"), copy = nll_of("decode", "copy");
    /* Other roundings of one estimator; and what f16 loses of the values, 2^-11 each, over a few layers. */
    assert_true(decoded != codes && fabs(decoded - codes) < 1e-3);
    assert_true(copy != codes && copy != decoded && fabs(copy - codes) < 1e-2);
    /* A prefill reads codes, whatever later steps would. */
    assert_true(nll_of("prefill", "decoded") == nll_of("prefill", "codes") && nll_of("prefill", "copy") == nll_of("prefill", "codes"));
    /* f16 once by each path and once by its bytes, besides the three ways of the others. */
    assert_true(ask(db, "SELECT count(*) FROM cell WHERE key_quantizer = 'affine'") == 9);
    assert_true(ask(db, "SELECT count(*) FROM cell WHERE key_quantizer = 'f16' AND json_extract(config, '$.sink') = 4") == 3);
    assert_true(ask(db, "SELECT count(*) FROM cell WHERE json_extract(config, '$.decode_reads') IN ('decoded', 'copy')") == 6);
}

static void test_bytes(void **state)
{
    (void)state;
    static const char differs[] = "SELECT (SELECT m.value FROM cell c JOIN measurement m ON m.cell = c.key WHERE m.metric = '%s' AND "
        "json_extract(c.config, '$.decode_reads') = 'copy') - (SELECT m.value FROM cell c JOIN measurement m ON m.cell = c.key WHERE "
        "m.metric = '%s' AND c.key_quantizer = 'affine' AND json_extract(c.config, '$.decode_reads') IS NULL)";
    const double tokens = 60, sides = TINY_LAYERS * TINY_KV_HEADS;
    static const struct { const char *metric; double of, over; } metrics[] = {
        { "bytes_key", 1, 1 }, { "bytes_value", 1, 1 }, { "bytes_per_token", 2, 64 }, { "bytes_per_token_key", 1, 64 },
        { "bytes_kept", 0, 1 }, { "overhead_bits", 0, 1 },
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        char *sql = text_format(differs, metrics[i].metric, metrics[i].metric);
        assert_float_equal(ask(db, sql), metrics[i].of * tokens * sides * 32 / metrics[i].over, 1e-9);
        free(sql);
    }
    char *sql = text_format(differs, "bytes_resident", "bytes_resident");
    assert_true(ask(db, sql) >= 2 * tokens * sides * 32);
    free(sql);
    assert_true(ask(db, "SELECT count(*) FROM measurement WHERE metric = 'bytes_copy'") == 1);
}

/* Rows that name the default speak of the cells that leave it out, and those that name another way of no f16 cell. */
static void test_rows(void **state)
{
    (void)state;
    static const char *const verdicts[] = { "met", "met", "met", "met", "met", "not computed" };
    store *s = open_store(db);
    cJSON *report, *row;
    assert_ok(report_load(s, "ways", &report, err));
    size_t n = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(report, "expect")) {
        assert_true(n < sizeof verdicts / sizeof *verdicts);
        if (strcmp(member_text(row, "verdict"), verdicts[n]))
            fail_msg("row %zu: %s instead of %s, computed %g", n, member_text(row, "verdict"), verdicts[n],
                     member_number(row, "computed"));
        n++;
    }
    assert_int_equal(n, sizeof verdicts / sizeof *verdicts);
    cJSON_Delete(report);
    store_close(s);
}

static char *folder;

static int set_up(void **state)
{
    (void)state;
    kvant_error why = { "" };
    folder = scratch_make();
    input_settings(NULL, folder, NULL);
    model = in_folder(folder, "tiny.gguf");
    prose = in_folder(folder, "prose.txt");
    db = in_folder(folder, "ways.db");
    tiny_model_write(model, (tiny_options){ .uniform = false });
    write_prose(prose);
    if (run_text(spec_text, model, prose, db, &why) == KVANT_OK)
        return 0;
    print_error("%s\n", why.text);
    return 1;
}

static int tear_down(void **state)
{
    (void)state;
    free(model);
    free(prose);
    free(db);
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_values), cmocka_unit_test(test_bytes), cmocka_unit_test(test_rows) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
