/* test_compare.c - "is A better than B?" and "do two measures agree?" on made-up stores, whose differences have known means, signs and
 * ranks: which cells words mean, what pairs up, what each verdict takes, and that mistakes are told instead of answered. */
#include "harness/cli.h"
#include "harness/measure/stats_paired.h"
#include "harness/report/compare.h"
#include "harness/report/plot.h"
#include "harness/report/report_internal.h"
#include "tests/stores.h"

#include <cjson/cJSON.h>

enum { CHUNKS = 8 };

/* A quantizer's cell of a probe: its label, its config, its bits; `where` sets pairings apart. */
typedef struct { const char *probe, *quantizer, *path, *model; int bits; double stored; } made;

static void label_of(const made *m, char label[64])
{
    snprintf(label, 64, m->bits ? "%s %db" : "%s", m->quantizer, m->bits);
}

static void config_of(const made *m, char config[512])
{
    snprintf(config, 512, "{\"code\":{\"parts\":{\"harness/probes/%s\":\"0\"}},\"data\":{\"name\":\"prose\",\"params\":{}},"
             "\"key\":{\"params\":{\"bits\":%d},\"quantizer\":\"%s\"},\"model\":{\"name\":\"%s\"},"
             "\"probe\":{\"name\":\"%s\",\"params\":{\"%s\":\"%s\"}},\"seed\":0,"
             "\"value\":{\"params\":{\"bits\":%d},\"quantizer\":\"%s\"}}", m->probe, m->bits, m->quantizer, m->model, m->probe,
             strcmp(m->probe, "needle") ? "path" : "depth", m->path, m->bits, m->quantizer);
}

/* The cell with `chunks` samples of the metric, which may be none, and a result that is their mean (or the first value). */
static void put(store *s, uint32_t ordinal, const made *m, const char *metric, const double *values, uint32_t chunks)
{
    char label[64], config[512], key[128], pairing[128];
    label_of(m, label);
    config_of(m, config);
    snprintf(key, sizeof key, "%s %s %s %s", label, m->probe, m->path, m->model);
    snprintf(pairing, sizeof pairing, "%s %s %s", m->probe, m->path, m->model);
    store_cell cell = made_cell(key, label, m->stored);
    cell.config = config;
    cell.pairing = pairing;
    cell.probe = m->probe;
    cell.model = m->model;
    cell.key_quantizer = cell.value_quantizer = m->quantizer;
    cell.reference = !strcmp(m->quantizer, "f16");
    cell.units = chunks ? chunks : 1;
    int64_t run = put_run(s, "kvant run");
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, "e", ordinal, &cell, err));
    for (uint32_t u = 0; u < cell.units; u++) {
        probe_sample sample = { metric, u, 0, values[u], 10 };
        assert_ok(store_unit(s, key, u, run, 1, 0.5, err));
        if (chunks)
            assert_ok(store_sample(s, key, u, &sample, err));
    }
    put_result(s, key, metric, -1, values[0], 0.01);
    assert_ok(store_cell_finish(s, key, run, "2026-01-02T03:05:00Z", err));
    assert_ok(store_commit(s, err));
}

static const double BASE[CHUNKS] = { 2, 3, 1, 2.5, 4, 3.5, 1.5, 2 };

/* Cells of divergence whose kl lies above BASE by these steps. */
static void put_kl(store *s, uint32_t ordinal, const char *quantizer, int bits, double stored, const double *steps, uint32_t chunks)
{
    double values[CHUNKS];
    for (size_t i = 0; i < CHUNKS; i++)
        values[i] = BASE[i] + steps[i];
    put(s, ordinal, &(made){ "divergence", quantizer, "prefill", "tiny", bits, stored }, "kl", values, chunks);
}

static const double NONE[CHUNKS] = { 0 }, CLEAR[CHUNKS] = { .5, .25, .5, .75, .5, .25, .5, 1 },
                    MIXED[CHUNKS] = { .5, -.5, .25, -.25, 1, -1, .5, -.25 },
                    SKEWED[CHUNKS] = { -.01, .01, .9, 1, .8, .7, 1.2, -.02 };

/* affine 4b is BASE; 3b clearly above; 2b above and below; q4_0 above with equal bits; 6b equal throughout; 5b has fewer chunks. */
static store *made_store(const char *path, const char *spec)
{
    store *s = open_store(path);
    assert_ok(store_experiment(s, "e", spec, err));
    put_kl(s, 0, "f16", 0, 16, NONE, CHUNKS);
    put_kl(s, 1, "affine", 4, 4.5, NONE, CHUNKS);
    put_kl(s, 2, "affine", 3, 3.5, CLEAR, CHUNKS);
    put_kl(s, 3, "affine", 2, 2.5, MIXED, CHUNKS);
    put_kl(s, 4, "q4_0", 0, 4.5, CLEAR, CHUNKS);
    put_kl(s, 5, "affine", 5, 5.5, CLEAR, 4);
    put_kl(s, 6, "affine", 6, 6.5, SKEWED, CHUNKS);
    return s;
}

static cJSON *answer(store *s, const compare_what *what)
{
    cJSON *out = NULL;
    const report_options o = { .experiment = "e" };
    assert_ok(compare_answer(s, &o, what, &out, err));
    assert_non_null(out);
    return out;
}

static const cJSON *first_row(const cJSON *out) { return cJSON_GetObjectItem(out, "comparisons")->child; }

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.17g is not %.17g", value, expected);
}

static void assert_word(const cJSON *row, const char *member, const char *expected)
{
    if (strcmp(member_text(row, member), expected))
        fail_msg("%s is '%s', not '%s'", member, member_text(row, member), expected);
}

/* The verdict on A against B, alone in its family. */
static void verdict(store *s, const char *a, const char *b, const char *word, const char *why)
{
    cJSON *out = answer(s, &(compare_what){ .a = a, .b = b });
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(out, "comparisons")), 1);
    assert_word(first_row(out), "verdict", word);
    if (!strstr(member_text(first_row(out), "words"), why))
        fail_msg("%s against %s: '%s' does not say '%s'", a, b, member_text(first_row(out), "words"), why);
    cJSON_Delete(out);
}

static void refused(store *s, const compare_what *what, const char *words)
{
    kvant_error err = { "" };
    cJSON *out = NULL;
    const report_options o = { .experiment = "e" };
    kvant_status status = compare_answer(s, &o, what, &out, &err);
    if (status != KVANT_INVALID || !strstr(err.text, words))
        fail_msg("status %d: '%s' does not say '%s'", (int)status, err.text, words);
    assert_null(out);
}

/* ---- Comparisons ---------------------------------------------------------------------------------------------------------- */

static void figures(void **state)
{
    char *path = in_folder(*state, "figures.db");
    store *s = made_store(path, "{}");
    cJSON *out = answer(s, &(compare_what){ .a = "affine 3b", .b = "affine 4b" });
    const cJSON *row = first_row(out);
    static const double w[CHUNKS] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    stats_interval bca;
    assert_ok(stats_bca(CLEAR, w, CHUNKS, 0.95, &bca, err));
    const stats_mean mean = stats_of(CLEAR, CHUNKS);
    assert_near(member_number(row, "difference"), .53125, 1e-12);
    assert_near(member_number(row, "se"), mean.se, 1e-12);
    assert_near(member_number(row, "lo"), bca.lo, 1e-12);
    assert_near(member_number(row, "hi"), bca.hi, 1e-12);
    assert_near(member_number(row, "value_a") - member_number(row, "value_b"), .53125, 1e-12);
    assert_near(member_number(row, "value_b"), 2.4375, 1e-12);
    assert_near(member_number(row, "p"), 2.0 / 256, 1e-12);
    assert_near(member_number(row, "p_holm"), 2.0 / 256, 1e-12);
    assert_near(member_number(row, "bits_a"), 3.5, 0);
    assert_near(member_number(row, "bits_b"), 4.5, 0);
    assert_near(member_number(row, "n"), CHUNKS, 0);
    assert_near(member_number(row, "above"), CHUNKS, 0);
    assert_word(row, "metric", "kl");
    assert_word(row, "unit", "nats");
    assert_near(member_number(row, "ratio"), 2.96875 / 2.4375, 1e-12);
    assert_true(member_number(row, "ratio_lo") > 1 && member_number(row, "ratio_hi") < 1.5);
    assert_word(row, "verdict", "worse");
    cJSON_Delete(out);

    /* The other way round everything turns over, the interval but for its drawing. */
    out = answer(s, &(compare_what){ .a = "affine 4b", .b = "affine 3b" });
    row = first_row(out);
    assert_near(member_number(row, "difference"), -.53125, 1e-12);
    assert_near(member_number(row, "lo"), -bca.hi, .03);
    assert_near(member_number(row, "below"), CHUNKS, 0);
    assert_word(row, "verdict", "better");
    cJSON_Delete(out);
    store_close(s);
    free(path);
}

static void verdicts(void **state)
{
    char *path = in_folder(*state, "verdicts.db");
    store *s = made_store(path, "{}");
    verdict(s, "affine 4b", "affine 3b", "better", "at more stored bits");
    verdict(s, "affine 3b", "affine 4b", "worse", "at fewer stored bits");
    verdict(s, "affine 4b", "q4_0", "better", "at equal stored bits");
    verdict(s, "affine 2b", "affine 4b", "undecided", "the interval holds 0");
    verdict(s, "affine 3b", "q4_0", "undecided", "equal throughout");
    verdict(s, "affine 5b", "affine 4b", "undecided", "too few chunks");
    verdict(s, "affine 6b", "affine 4b", "undecided", "the sign test");           /* 5 of 8 above, far above */
    store_close(s);
    free(path);
}

static void words_mean_cells(void **state)
{
    char *path = in_folder(*state, "words.db");
    store *s = made_store(path, "{}");
    const char *const same[] = { "affine 3b", "3", "key=affine bits=3", "key=affine,key.bits=3", "value.bits=3  key=affine model=tiny" };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        cJSON *out = answer(s, &(compare_what){ .a = same[i], .b = "key=q4_0" });
        assert_word(first_row(out), "a", "affine 3b");
        assert_word(first_row(out), "b", "q4_0");
        cJSON_Delete(out);
    }
    refused(s, &(compare_what){ .a = "key=affine", .b = "q4_0" }, "is not one cell of divergence of tiny on prose: 4 'affine 2b', 3 "
            "'affine 3b'");
    refused(s, &(compare_what){ .a = "affin 3b", .b = "q4_0" }, "did you mean 'affine 3b'?");
    refused(s, &(compare_what){ .a = "q4_0", .b = "99" }, "no finished cell is that");
    refused(s, &(compare_what){ .a = "q4_0", .b = "0" }, "no finished cell is that");
    refused(s, &(compare_what){ .a = "q4_0", .b = "" }, "no finished cell is that");
    refused(s, &(compare_what){ .a = "key=affine bits", .b = "q4_0" }, "'bits' is not NAME=VALUE");
    refused(s, &(compare_what){ .a = "=3", .b = "q4_0" }, "is not NAME=VALUE");
    refused(s, &(compare_what){ .a = "key=affine bits=7", .b = "q4_0" }, "no finished cell is that");
    refused(s, &(compare_what){ .a = "key=affine sides=3", .b = "q4_0" }, "no finished cell is that");
    refused(s, &(compare_what){ .a = "q4_0", .b = "key=q4_0" }, "are the same cell");
    refused(s, &(compare_what){ .question = "why" }, "has no question 'why'; it has none");
    const char *metrics[] = { "nll", NULL };
    kvant_error err = { "" };
    cJSON *out = NULL;
    const report_options o = { .experiment = "e", .metrics = metrics }, other = { .experiment = "f" };
    assert_int_equal(compare_answer(s, &o, &(compare_what){ .a = "q4_0", .b = "affine 3b" }, &out, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "share no such metric; chunk by chunk they have kl"));
    assert_int_equal(compare_answer(s, &other, &(compare_what){ .a = "q4_0", .b = "affine 3b" }, &out, &err), KVANT_INVALID);
    store_close(s);
    free(path);
}

/* Several settings: a row for each that has both; cells of different settings are never paired. */
static void settings(void **state)
{
    char *path = in_folder(*state, "settings.db");
    store *s = made_store(path, "{}");
    double values[CHUNKS] = { 1, 2, 3, 4, 5, 6, 7, 8 }, lower[CHUNKS];
    for (size_t i = 0; i < CHUNKS; i++)
        lower[i] = values[i] - .25 - .01 * (double)i;
    put(s, 7, &(made){ "divergence", "affine", "decode", "tiny", 4, 4.5 }, "kl", values, CHUNKS);
    put(s, 8, &(made){ "divergence", "affine", "decode", "tiny", 3, 3.5 }, "kl", lower, CHUNKS);
    put(s, 9, &(made){ "divergence", "affine", "prefill", "other", 4, 4.5 }, "kl", values, CHUNKS);
    cJSON *out = answer(s, &(compare_what){ .a = "affine 3b", .b = "affine 4b" });
    const cJSON *rows = cJSON_GetObjectItem(out, "comparisons");
    assert_int_equal(cJSON_GetArraySize(rows), 2);
    assert_word(rows->child, "setting", "path prefill");
    assert_word(rows->child, "verdict", "worse");
    assert_word(rows->child->next, "setting", "path decode");
    assert_word(rows->child->next, "verdict", "better");
    assert_near(member_number(rows->child, "p_holm"), 4.0 / 256, 1e-12);           /* a family of two */
    cJSON_Delete(out);
    refused(s, &(compare_what){ .a = "8", .b = "3" }, "are not in one setting");
    out = answer(s, &(compare_what){ .a = "key=affine bits=3 path=decode", .b = "affine 4b" });
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(out, "comparisons")), 1);
    cJSON_Delete(out);
    store_close(s);
    free(path);
}

/* Points of a needle's grid are one setting: trials of all of them count together, each paired with its own. */
static void grids(void **state)
{
    char *path = in_folder(*state, "grids.db");
    store *s = open_store(path);
    assert_ok(store_experiment(s, "e", "{}", err));
    static const double found[CHUNKS] = { 1, 1, 1, 1, 1, 1, 0, 1 }, lost[CHUNKS] = { 0, 0, 1, 0, 0, 0, 0, 0 };
    static const char *const depths[] = { "0", "1" };
    for (uint32_t i = 0; i < 2; i++) {
        put(s, 2 * i, &(made){ "needle", "affine", depths[i], "tiny", 4, 4.5 }, "needle_correct", found, CHUNKS);
        put(s, 2 * i + 1, &(made){ "needle", "affine", depths[i], "tiny", 2, 2.5 }, "needle_correct", lost, CHUNKS);
    }
    cJSON *out = answer(s, &(compare_what){ .a = "affine 4b", .b = "bits=2" });
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(out, "comparisons")), 1);
    const cJSON *row = first_row(out);
    assert_near(member_number(row, "n"), 16, 0);
    assert_near(member_number(row, "above"), 12, 0);
    assert_near(member_number(row, "ties"), 4, 0);
    assert_near(member_number(row, "difference"), .75, 1e-12);
    assert_near(member_number(row, "p"), 2.0 / 4096, 1e-12);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(row, "ratio")));          /* some are 0 */
    assert_word(row, "verdict", "better");
    assert_word(row, "metric", "needle_correct");
    cJSON_Delete(out);
    refused(s, &(compare_what){ .a = "key=affine", .b = "bits=2" }, "is not one cell of needle");
    out = answer(s, &(compare_what){ .a = "1", .b = "affine 2b" });        /* one point alone */
    assert_near(member_number(first_row(out), "n"), 8, 0);
    cJSON_Delete(out);
    store_close(s);
    free(path);
}

/* A against all others, and only the chunks that both have. */
static void against_all(void **state)
{
    char *path = in_folder(*state, "all.db");
    store *s = made_store(path, "{}");
    cJSON *out = answer(s, &(compare_what){ .a = "q4_0" });
    const cJSON *rows = cJSON_GetObjectItem(out, "comparisons"), *row;
    assert_int_equal(cJSON_GetArraySize(rows), 6);
    double largest = 0;
    cJSON_ArrayForEach(row, rows) {
        assert_word(row, "a", "q4_0");
        assert_true(strcmp(member_text(row, "b"), "q4_0") != 0);
        assert_true(member_number(row, "p_holm") >= member_number(row, "p"));
        largest = fmax(largest, member_number(row, "p_holm"));
        if (!strcmp(member_text(row, "b"), "affine 5b")) {
            assert_near(member_number(row, "n"), 4, 0);
            assert_near(member_number(row, "n_a"), 8, 0);
            assert_near(member_number(row, "n_b"), 4, 0);
        } else if (!strcmp(member_text(row, "b"), "affine 4b") || !strcmp(member_text(row, "b"), "f16"))
            assert_near(member_number(row, "p_holm"), 6 * 2.0 / 256, 1e-12);       /* the least of six */
    }
    assert_near(largest, 1, 0);
    cJSON_Delete(out);

    /* A value that was not finite leaves no interval and no test. */
    double broken[CHUNKS];
    memcpy(broken, BASE, sizeof broken);
    broken[3] = NAN;
    put(s, 7, &(made){ "divergence", "nf4", "prefill", "tiny", 0, 4.5 }, "kl", broken, CHUNKS);
    out = answer(s, &(compare_what){ .a = "nf4", .b = "q4_0" });
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(first_row(out), "difference")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(first_row(out), "p_holm")));
    assert_word(first_row(out), "words", "values that are not finite");
    cJSON_Delete(out);
    store_close(s);
    free(path);
}

/* ---- Correlations --------------------------------------------------------------------------------------------------------- */

static const double NMSE[8] = { .3, .1, .11, .03, .01, .012, .009, .0001 }, KL[8] = { 3, 1, .9, .2, .05, .04, .06, .001 };

/* Eight quantizers with nmse and kl from two probes; only the values matter. */
static void put_measures(store *s, uint32_t ordinal, const char *model)
{
    static const double bits[8] = { 2.25, 3.25, 3.5, 3.75, 4.25, 4.5, 4.75, 8.5 };
    static const char *const names[8] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    put(s, ordinal++, &(made){ "divergence", "f16", "prefill", model, 0, 16 }, "kl", NONE, 0);
    put(s, ordinal++, &(made){ "distortion", "f16", "prefill", model, 0, 16 }, "nmse_key", NONE, 0);
    for (int i = 0; i < 8; i++) {
        put(s, ordinal++, &(made){ "distortion", names[i], "prefill", model, 0, bits[i] }, "nmse_key", &NMSE[i], 0);
        put(s, ordinal++, &(made){ "divergence", names[i], "prefill", model, 0, bits[i] }, "kl", &KL[i], 0);
    }
}

static void correlations(void **state)
{
    char *path = in_folder(*state, "correlations.db");
    store *s = open_store(path);
    assert_ok(store_experiment(s, "e", "{}", err));
    put_measures(s, 0, "tiny");
    cJSON *out = answer(s, &(compare_what){ .x = "nmse_key", .y = "kl" });
    const cJSON *rows = cJSON_GetObjectItem(out, "correlations"), *row = rows->child;
    assert_int_equal(cJSON_GetArraySize(rows), 1);                 /* no single bit has five points */
    assert_word(row, "stored_bits", "all");
    assert_near(member_number(row, "n"), 8, 0);                    /* the reference is none */
    /* Ranks 8 6 7 5 3 4 2 1 and 8 7 6 5 3 2 4 1: sum d^2 = 1 + 1 + 4 + 4 = 10, 1 - 60 / 504. */
    assert_near(member_number(row, "rho"), 1 - 60.0 / 504, 1e-12);
    assert_true(member_number(row, "lo") < member_number(row, "rho") && member_number(row, "hi") < 1);
    assert_true(member_number(row, "p") < .01);
    const cJSON *points = cJSON_GetObjectItem(row, "points");
    assert_int_equal(cJSON_GetArraySize(points), 8);
    assert_word(points->child, "label", "a");
    assert_near(member_number(points->child, "rank_x"), 8, 0);
    assert_near(member_number(points->child, "y_hi"), 3.02, 1e-12);
    cJSON_Delete(out);

    /* A second model has a row of its own; a value that is not finite is left out, and said. */
    put_measures(s, 20, "other");
    put(s, 40, &(made){ "distortion", "i", "prefill", "other", 0, 4 }, "nmse_key", &(const double){ NAN }, 0);
    put(s, 41, &(made){ "divergence", "i", "prefill", "other", 0, 4 }, "kl", &KL[0], 0);
    put(s, 42, &(made){ "divergence", "j", "prefill", "other", 0, 4 }, "kl", &KL[0], 0);        /* no nmse: no point */
    for (int i = 0; i < 3; i++) {
        const char *const more[] = { "k", "l", "m" };
        put(s, 43 + 2 * (uint32_t)i, &(made){ "distortion", more[i], "prefill", "other", 0, 4.1 }, "nmse_key", &NMSE[i], 0);
        put(s, 44 + 2 * (uint32_t)i, &(made){ "divergence", more[i], "prefill", "other", 0, 4.1 }, "kl", &KL[i], 0);
    }
    out = answer(s, &(compare_what){ .x = "nmse_key", .y = "kl" });
    rows = cJSON_GetObjectItem(out, "correlations");
    assert_int_equal(cJSON_GetArraySize(rows), 3);
    row = rows->child->next;
    assert_word(row, "model", "other");
    assert_near(member_number(row, "n"), 11, 0);
    assert_near(member_number(row, "left_out"), 1, 0);
    assert_word(row->next, "stored_bits", "4 to 5");
    assert_near(member_number(row->next, "n"), 6, 0);
    cJSON_Delete(out);
    refused(s, &(compare_what){ .x = "nmse", .y = "kl" }, "no finished cell has metric 'nmse'");
    store_close(s);
    free(path);
}

/* ---- Questions and formats ------------------------------------------------------------------------------------------------ */

#define QUESTIONS "{\"questions\":[{\"name\":\"four\",\"question\":\"Affine or q4_0?\",\"metric\":\"kl\",\"compare\":" \
    "[[\"affine 4b\",\"key=q4_0\"],[\"affine 3b\",\"key=q4_0\"]]},{\"name\":\"lost\",\"compare\":[[\"affine 4b\",\"affine 9b\"]]}," \
    "{\"name\":\"order\",\"correlate\":[[\"kl\",\"kl\"]]}]}"

static char *written(store *s, const compare_what *what, report_format format)
{
    text out = { 0 };
    const report_options o = { .experiment = "e", .format = format };
    assert_ok(compare_write(s, &o, what, &out, err));
    return out.data;
}

static void assert_has(const char *out, const char *words)
{
    if (!strstr(out, words))
        fail_msg("\"%s\" is not in:\n%s", words, out);
}

static void questions(void **state)
{
    char *path = in_folder(*state, "questions.db");
    store *s = made_store(path, QUESTIONS);
    const compare_what four = { .question = "four" }, order = { .question = "order" };
    char *out = written(s, &four, REPORT_TABLE);
    assert_has(out, "Affine or q4_0?\nA          B     metric                 stored bits    A - B, paired, BCa 95 %");
    assert_has(out, "affine 4b  q4_0  kl of tiny on prose  4.500 / 4.500  -0.53 [-0.72, -0.41] nats  8               0, 8, 0         0.008    "
               "0.016  better     at equal stored bits\n");
    assert_has(out, "affine 3b  q4_0  kl of tiny on prose  3.500 / 4.500                  0 (equal)  8");
    assert_has(out, "over the 2 rows here");
    free(out);
    out = written(s, &four, REPORT_MARKDOWN);
    assert_has(out, "## Affine or q4\\_0?\n\n| A | B | metric |");
    free(out);
    out = written(s, &four, REPORT_CSV);
    assert_has(out, "question,probe,model,data,setting,metric,unit,better,a,b,");
    assert_has(out, "Affine or q4_0?,divergence,tiny,prose,,kl,nats,-1,affine 4b,q4_0,4.5,4.5,2.4375,2.96875,-0.53125,");
    free(out);
    out = written(s, &order, REPORT_CSV);
    assert_has(out, "order,kl,kl,tiny,prose,,all,6,1,");
    free(out);
    out = written(s, &order, REPORT_TABLE);
    assert_has(out, "kl, kl    tiny on prose   all          +1.00 [+");
    assert_has(out, "points of tiny on prose");
    free(out);
    out = written(s, &order, REPORT_JSON);
    cJSON *parsed = cJSON_Parse(out);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(parsed, "correlations")), 1);
    cJSON_Delete(parsed);
    free(out);
    refused(s, &(compare_what){ .question = "all" }, "question lost: 'affine 9b': no finished cell is that: did you mean 'affine");
    refused(s, &(compare_what){ .question = "fourth" }, "it has four, lost, order");
    store_close(s);
    free(path);
}

/* ---- Pictures ------------------------------------------------------------------------------------------------------------- */

static char *drawn(store *s, const char *plot, const char *out, const char *const *sets)
{
    text files = { 0 };
    const char *folder = cli_share("plots");
    assert_non_null(folder);
    const plot_options o = { folder, plot, "e", out, NULL, sets, NULL };
    assert_ok(plot_draw(s, &o, &files, err));
    assert_non_null(files.data);
    files.data[strcspn(files.data, "\n")] = '\0';
    char *svg;
    size_t bytes;
    assert_ok(file_read(files.data, &svg, &bytes, err));
    assert_non_null(strstr(svg, "</svg>"));
    text_free(&files);
    return svg;
}

static void not_drawn(store *s, const char *plot, const char *const *sets, const char *words)
{
    text files = { 0 };
    kvant_error err = { "" };
    const plot_options o = { cli_share("plots"), plot, "e", "none.svg", NULL, sets, NULL };
    if (plot_draw(s, &o, &files, &err) != KVANT_INVALID || !strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    text_free(&files);
}

static void pictures(void **state)
{
    if (system("gnuplot --version > /dev/null 2>&1") != 0) {
        print_message("gnuplot is not installed\n");
        skip();
    }
    char *path = in_folder(*state, "pictures.db");
    store *s = made_store(path, QUESTIONS);
    put_measures(s, 20, "other");
    static const char *const four[] = { "question=four", NULL }, *const pair[] = { "a=affine 4b", "b=key=q4_0", "ratio=0", NULL };
    static const char *const both[] = { "x=nmse_key", "y=kl", NULL }, *const half[] = { "x=nmse_key", NULL };
    static const char *const typo[] = { "questoin=four", NULL }, *const none[] = { "question=lost", NULL };
    char *svg = drawn(s, "compare", *state, four);
    char *file = in_folder(*state, "e-compare-four.svg");
    assert_int_equal(access(file, R_OK), 0);
    static const char *const said[] = { "e: Affine or q4_0? (prose)", "affine 4b", "affine 3b", "better, 4.5 / 4.5 bits",
                                        "undecided, 3.5 / 4.5 bits", "kl of A over that of B, log scale", "← A is better" };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        assert_has(svg, said[i]);
    free(file);
    free(svg);
    svg = drawn(s, "compare", *state, pair);
    assert_has(svg, "kl of A minus that of B, nats");
    free(svg);
    svg = drawn(s, "correlation", *state, both);
    assert_has(svg, "other: ρ = 0.88 [");
    assert_has(svg, "nmse_key, log scale");
    free(svg);
    not_drawn(s, "correlation", half, "--set x goes with --set y");
    not_drawn(s, "compare", typo, "has no parameter 'questoin': did you mean 'question'?");
    not_drawn(s, "compare", none, "question lost: 'affine 9b'");
    not_drawn(s, "correlation", four, "has nothing to draw");
    store_close(s);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures), cmocka_unit_test(verdicts), cmocka_unit_test(words_mean_cells), cmocka_unit_test(settings), cmocka_unit_test(grids),
        cmocka_unit_test(against_all), cmocka_unit_test(correlations), cmocka_unit_test(questions),
        cmocka_unit_test(pictures),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
