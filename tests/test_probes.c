/* test_probes.c - the probes' tables are whole, and results come from samples as closed values say.
 * Against quantizers of known error: test_distortion.c; on models: test_probes_model.c. */
#include "tests/float_codes.h"

#include <gsl/gsl_cdf.h>

static void finish(const char *name, const probe_sample *samples, size_t n, cell_run *out)
{
    *out = (cell_run){ 0 };
    const kvant_probe *p = probe_of(name);
    kvant_args args = kvant_defaults(p->params);
    assert_int_equal(p->finish(&args, samples, n, run_result, out, NULL), KVANT_OK);
}

/* ---- The tables ------------------------------------------------------------------------------ */

static void tables_are_whole(void **state)
{
    (void)state;
    for (const kvant_probe *const *p = kvant_probes(); *p; p++) {
        assert_true((*p)->summary[0] && (*p)->params && (*p)->metrics && (*p)->finish && ((*p)->wants_text || (*p)->wants_vectors));
        size_t params = 0;
        for (const kvant_param *q = (*p)->params; q->name; q++, params++) {
            assert_true(q->help && q->help[0]);
            if (q->type == KVANT_CHOICE)
                assert_non_null(q->choices);
            else
                assert_true(q->min <= q->def && q->def <= q->max);
        }
        assert_true(params <= KVANT_MAX_PARAMS);
        for (const probe_metric *m = (*p)->metrics; m->name; m++) {
            assert_true(m->unit && m->help && m->help[0] && !strchr(m->help, '\n'));
            assert_ptr_equal(probe_metric_find(*p, m->name), m);
        }
        kvant_args none = kvant_defaults((*p)->params);
        assert_true((*p)->context(&none) >= 16);
        assert_int_not_equal((*p)->finish(&none, NULL, 0, run_result, NULL, NULL), KVANT_OK);
    }
}

static void finds_probes_and_metrics(void **state)
{
    (void)state;
    kvant_error err = { "" };
    assert_null(probe_find("perplexitty", &err));
    assert_non_null(strstr(err.text, "'perplexity'"));
    const kvant_probe *p = probe_of("perplexity");
    assert_string_equal(probe_metric_find(p, "perplexity_at_16")->name, "perplexity_at_N");
    static const char *const unknown[] = {
        "perplexity_at_", "perplexity_at_N1", "perplexity_16", "perplexity_at_16x", "", "16", "_16"
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_null(probe_metric_find(p, unknown[i]));
}

/* ---- finish ---------------------------------------------------------------------------------- */

static void perplexity_from_chunks(void **state)
{
    (void)state;
    static const probe_sample samples[] = {
        { "compression", 0, 0, 3.5, 1 },
        { "nll", 0, 0, 2, 255 }, { "nll", 1, 0, 4, 255 }, { "nll", 2, 0, 3, 255 }, { "nll", 3, 0, 3, 255 }, { "nll", 4, 0, 8, 255 },
    };
    cell_run r;
    finish("perplexity", samples, 6, &r);
    /* Mean 4; squared deviations 4 + 0 + 1 + 1 + 16 = 22, so the standard error is sqrt(22 / 4 / 5). */
    double se = sqrt(22.0 / 20), t = gsl_cdf_tdist_Pinv(.975, 4);
    const kept_result *nll = result_of(&r, "nll"), *ppl = result_of(&r, "perplexity");
    assert_near(nll->value, 4, 1e-14);
    assert_near(nll->se, se, 1e-14);
    assert_near(nll->n, 5, 0);
    assert_near(nll->hi, 4 + t * se, 1e-12);
    assert_near(ppl->value, exp(4), 1e-12);
    assert_near(ppl->se, exp(4) * se, 1e-12);
    assert_near(ppl->lo, exp(4 - t * se), 1e-12);
    assert_near(ppl->hi, exp(4 + t * se), 1e-9);
    assert_near(value_of(&r, "perplexity_at_1"), exp(2), 1e-12);
    assert_near(value_of(&r, "perplexity_at_2"), exp(3), 1e-12);
    assert_near(value_of(&r, "perplexity_at_4"), exp(3), 1e-12);
    assert_near(value_of(&r, "perplexity_at_5"), exp(4), 1e-12);
    assert_true(isnan(result_of(&r, "perplexity_at_1")->se));
    assert_near(value_of(&r, "compression"), 3.5, 0);
    assert_true(isnan(result_of(&r, "compression")->se));
    assert_int_equal(r.n_results, 2 + 4 + 1);
}

static void perplexity_weighs_tokens_and_keeps_nan(void **state)
{
    (void)state;
    probe_sample samples[] = { { "nll", 0, 0, 1, 100 }, { "nll", 1, 0, 5, 300 } };
    cell_run r;
    finish("perplexity", samples, 2, &r);
    assert_near(value_of(&r, "nll"), 4, 1e-14);
    samples[1].value = NAN;
    finish("perplexity", samples, 2, &r);
    assert_true(isnan(value_of(&r, "perplexity")));
    assert_near(value_of(&r, "perplexity_at_1"), exp(1), 1e-14);
}

static void needle_from_trials(void **state)
{
    (void)state;
    static const probe_sample samples[] = {
        { "needle_correct", 0, 0, 1, 1 }, { "needle_log_prob", 0, 0, -.1, 7 },
        { "needle_correct", 1, 0, 0, 1 }, { "needle_log_prob", 1, 0, -.5, 7 },
        { "needle_correct", 2, 0, 1, 1 }, { "needle_log_prob", 2, 0, -.3, 7 },
        { "needle_correct", 3, 0, 1, 1 }, { "needle_log_prob", 3, 0, -.3, 7 },
        { "needle_depth", 0, 0, .5, 1 }, { "prompt_tokens", 0, 0, 510, 1 },
    };
    cell_run r;
    finish("needle", samples, sizeof samples / sizeof *samples, &r);
    const kept_result *a = result_of(&r, "needle_accuracy"), *l = result_of(&r, "needle_log_prob");
    assert_near(a->value, .75, 0);
    assert_near(a->n, 4, 0);
    assert_true(isnan(a->se));
    /* Wilson, 3 of 4: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). */
    double z = 1.9599639845400545, c = (.75 + z * z / 8) / (1 + z * z / 4);
    double h = z * sqrt(.75 * .25 / 4 + z * z / 64) / (1 + z * z / 4);
    assert_near(a->lo, c - h, 1e-9);
    assert_near(a->hi, c + h, 1e-9);
    assert_near(l->value, -.3, 1e-14);
    assert_near(l->se, sqrt(.08 / 3 / 4), 1e-14);
    assert_near(value_of(&r, "prompt_tokens"), 510, 0);
    assert_int_equal(r.n_results, 4);

    /* Of several values in a trial the share, by trials. */
    static const probe_sample several[] = {
        { "needle_correct", 0, 0, 1, 1 }, { "needle_found", 0, 0, 1, 4 }, { "needle_correct", 1, 0, 0, 1 }, { "needle_found", 1, 0, .75, 4 },
    };
    finish("needle", several, sizeof several / sizeof *several, &r);
    const kept_result *found = result_of(&r, "needle_found");
    assert_near(value_of(&r, "needle_accuracy"), .5, 0);
    assert_near(found->value, .875, 1e-15);
    assert_near(found->se, .125, 1e-15);
    assert_near(found->lo, 0, 0);
    assert_near(found->hi, 1, 0);
}

static void distortion_clusters_by_text(void **state)
{
    (void)state;
    /* Two texts of two layers: within a text all counts as one cluster. */
    static const probe_sample samples[] = {
        { "nmse_key", 0, 0, .1, 10 }, { "nmse_key", 1, 0, .4, 20 },
        { "nmse_key", 0, 0, .2, 10 }, { "nmse_key", 1, 0, .7, 20 },
    };
    cell_run r;
    finish("distortion", samples, 4, &r);
    const kept_result *k = result_of(&r, "nmse_key");
    assert_near(k->value, (1 + 8 + 2 + 14) / 60.0, 1e-14);
    assert_near(k->n, 2, 0);
    /* Clusters .3 and 16/30 of equal weight: their difference over 2. */
    assert_near(k->se, (16.0 / 30 - .3) / 2, 1e-14);
    assert_int_equal(r.n_results, 1);
}

static void distortion_weighs_sides_alike(void **state)
{
    (void)state;
    /* Two texts, whose values are much shorter than their keys: .1 and .3, .5 and .1. */
    static const probe_sample samples[] = {
        { "nmse_key", 0, 0, .1, 100 }, { "nmse_value", 0, 0, .3, 1 }, { "nmse_key", 0, 0, .5, 100 }, { "nmse_value", 0, 0, .1, 1 },
    };
    cell_run r;
    finish("distortion", samples, 4, &r);
    assert_near(value_of(&r, "nmse_kv"), (.2 + .3) / 2, 1e-14);
    assert_near(result_of(&r, "nmse_kv")->se, .1 / 2, 1e-14);
    assert_int_equal(r.n_results, 3);
    finish("distortion", samples, 3, &r);          /* a chunk that lacks a side: no such figure */
    assert_int_equal(r.n_results, 2);
}

static void distortion_clusters_vectors(void **state)
{
    (void)state;
    static const probe_sample samples[] = { { "nmse", 0, 0, .2, 1 }, { "nmse", 1, 0, .4, 1 }, { "nmse", 32, 0, .6, 1 } };
    cell_run r;
    finish("distortion", samples, 3, &r);
    assert_near(value_of(&r, "nmse"), .4, 1e-14);
    assert_near(result_of(&r, "nmse")->se, .2 / sqrt(3), 1e-14);
    assert_near(result_of(&r, "nmse")->n, 3, 0);
}

static void throughput_takes_median_and_best(void **state)
{
    (void)state;
    static const probe_sample samples[] = {
        { "encode_gb_per_s", 0, 0, 1, 1 }, { "encode_gb_per_s", 1, 0, 4, 1 }, { "encode_gb_per_s", 2, 0, 2, 1 },
        { "encode_ns", 0, 0, 30, 1 }, { "encode_ns", 1, 0, 10, 1 }, { "encode_ns", 2, 0, 20, 1 },
        { "decode_tokens_per_s", 0, 0, 50, 1 }, { "decode_tokens_per_s", 1, 0, 70, 1 }, { "decode_tokens_per_s", 2, 0, 61, 1 },
    };
    cell_run r;
    finish("throughput", samples, sizeof samples / sizeof *samples, &r);
    assert_near(value_of(&r, "encode_ns"), 20, 0);
    assert_near(value_of(&r, "encode_ns_min"), 10, 0);
    assert_near(value_of(&r, "encode_gb_per_s"), 2, 0);
    assert_near(value_of(&r, "decode_tokens_per_s"), 61, 0);
    assert_near(value_of(&r, "decode_tokens_per_s_max"), 70, 0);
    assert_int_equal(r.n_results, 5);
    for (const probe_metric *m = probe_of("throughput")->metrics; m->name; m++)
        assert_int_equal(m->timing, !strstr(m->name, "bytes_per_token") && !strstr(m->name, "compression"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_whole),
        cmocka_unit_test(finds_probes_and_metrics),
        cmocka_unit_test(perplexity_from_chunks),
        cmocka_unit_test(perplexity_weighs_tokens_and_keeps_nan),
        cmocka_unit_test(needle_from_trials),
        cmocka_unit_test(distortion_clusters_by_text),
        cmocka_unit_test(distortion_weighs_sides_alike), cmocka_unit_test(distortion_clusters_vectors),
        cmocka_unit_test(throughput_takes_median_and_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
