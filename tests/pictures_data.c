/* pictures_data.c - see pictures_data.h.
 * Values follow closed forms that keep all points apart: nothing here measures anything. */
#include "tests/pictures_data.h"

#include "tests/stores.h"

enum { NAMES = 6, MODELS = 2, UNITS = 4 };

#define APART "K turboquant_prod 3b hadamard constant / V turboquant_mse 3b hadamard"
static const struct { const char *label, *key, *value; double bits, asked; } names[NAMES] = {
    { "f16", "f16", "f16", 16, 16 },
    { "turboquant_mse 2b hadamard", "turboquant_mse", "turboquant_mse", 2.25, 2 },
    { "turboquant_mse 3b hadamard", "turboquant_mse", "turboquant_mse", 3.25, 3 },
    { "turboquant_prod 2b hadamard constant", "turboquant_prod", "turboquant_prod", 2.5, 2 },
    { "affine 4b", "affine", "affine", 4.5, 4 },
    { APART, "turboquant_prod", "turboquant_mse", 3.5, 3 },
};
static const char *const models[MODELS] = { "smollm2-135m", "gemma-3-270m" };
static const char *const sets_of_vectors[MODELS] = { "synthetic:distribution=gaussian,dim=256,n=8192",
                                                     "synthetic:distribution=outlier_channels,dim=256,n=8192" };

void put_needle(store *s, const char *experiment, int64_t run, uint32_t ordinal, const char *label, const char *depth, int length,
                double found)
{
    char key[64], config[256], pairing[64];
    snprintf(key, sizeof key, "%s-needle-%u", experiment, ordinal);
    snprintf(pairing, sizeof pairing, "%s-%d", depth, length);
    snprintf(config, sizeof config, "{\"key\":{\"quantizer\":\"q%u\"},\"probe\":{\"name\":\"needle\",\"params\":{\"depth\":%s,"
             "\"length\":%d}}}", ordinal, depth, length);
    store_cell cell = made_cell(key, label, 4);
    cell.pairing = pairing, cell.config = config, cell.probe = "needle", cell.units = 1;
    assert_ok(store_begin(s, err));
    assert_ok(store_cell_put(s, experiment, ordinal, &cell, err));
    assert_ok(store_unit(s, key, 0, run, 1, 1, err));
    probe_result accuracy = { "needle_accuracy", found / 4, 4, NAN, 0.1, 0.9 };
    assert_ok(store_measurement(s, key, "", 1, false, &accuracy, err));
    assert_ok(store_cell_finish(s, key, run, "now", err));
    assert_ok(store_commit(s, err));
}

void put_attention(store *s, const char *experiment, int64_t run, uint32_t ordinal, const char *label, double bits, double bytes,
                   uint32_t depth, uint32_t threads)
{
    static const double nll[UNITS] = { 1, 2, 3, 2 };
    const double ns = bytes / 10 / threads;
    char key[64], *config = text_format("{\"key\":{\"quantizer\":\"%s\"},\"probe\":{\"params\":{\"depth\":%u,\"kv_heads\":4,"
                                        "\"queries\":4,\"threads\":%u}}}", label, depth, threads);
    snprintf(key, sizeof key, "%s-attention-%u", experiment, ordinal);
    store_cell cell = made_cell(key, label, bits);
    cell.config = config, cell.probe = "decode_attention", cell.model = NULL;
    finish_cell(s, experiment, ordinal, &cell, run, nll);
    const struct { const char *metric; double value; } values[] = {
        { "ns_per_pair", ns }, { "ns_per_pair_min", ns * .9 }, { "bytes_per_pair", bytes }, { "memory_ns", bytes / 20 / threads },
        { "fma_ns", 16.0 / threads }, { "int8_ns", 3.0 / threads }, { "products_per_pair", 1024 },
    };
    for (size_t k = 0; k < sizeof values / sizeof *values; k++)
        put_result(s, key, values[k].metric, -1, values[k].value, 0);
    free(config);
}

/* A cell of names[n] on the model (or vectors, without one), with nll by chunk; `more` goes into its config. Returns its key, freed by
 * the caller. */
static char *put_cell(store *s, const char *experiment, int64_t run, uint32_t ordinal, size_t n, size_t model, const char *probe,
                      const char *more)
{
    char *key = text_format("%s-%u", experiment, ordinal), *pairing = text_format("%s-%s-%zu", experiment, probe, model);
    const bool vectors = !strcmp(probe, "distortion") && strcmp(experiment, "layers");
    char *config = text_format("{\"key\":{\"quantizer\":\"%s\",\"params\":{\"label\":%u}}%s%s}", names[n].key, ordinal,
                               *more ? "," : "", more);
    double nll[UNITS];
    for (size_t u = 0; u < UNITS; u++)
        nll[u] = 2.5 + 0.3 * (double)model + 0.5 * (double)(n * n % 7) / names[n].bits + 0.01 * (double)((u * n) % 3);
    store_cell cell = made_cell(key, names[n].label, names[n].bits);
    cell.pairing = pairing, cell.config = config, cell.probe = probe, cell.bits_asked = names[n].asked;
    cell.model = vectors ? NULL : models[model], cell.data = vectors ? sets_of_vectors[model] : "jargon";
    cell.key_quantizer = names[n].key, cell.value_quantizer = names[n].value;
    finish_cell(s, experiment, ordinal, &cell, run, nll);
    free(pairing);
    free(config);
    return key;
}

static void put_by_model(store *s, int64_t run)
{
    static const char *const experiments[] = { "pareto", "compare", "correlation" };
    for (size_t e = 0; e < 3; e++)
        for (uint32_t i = 0; i < NAMES * MODELS; i++)
            free(put_cell(s, experiments[e], run, i, i % NAMES, i / NAMES, "perplexity", ""));
}

static void put_vectors(store *s, int64_t run)
{
    for (uint32_t i = 0; i < NAMES * MODELS; i++) {
        const size_t n = i % NAMES;
        char *key = put_cell(s, "distortion", run, i, n, i / NAMES, "distortion", "");
        if (n)
            put_result(s, key, "nmse", -1, 2.0 * pow(4, -names[n].bits) * (1 + (double)n / 9), 1e-4);
        free(key);
    }
    for (uint32_t n = 1; n < NAMES; n++) {
        char *key = put_cell(s, "products", run, n, n, 0, "distortion", "");
        for (int degrees = 0; degrees < 90; degrees += 30) {
            char *bias = text_format("ip_bias_at_%d", degrees), *variance = text_format("ip_variance_at_%d", degrees);
            put_result(s, key, bias, 0, -0.02 * n * degrees / 90, 0.001);
            put_result(s, key, variance, -1, 0.1 * n + 0.001 * degrees, 0.001);
            free(bias);
            free(variance);
        }
        free(key);
    }
}

static void put_samples(store *s, int64_t run)
{
    for (uint32_t n = 1; n < NAMES; n++) {
        char *layers = put_cell(s, "layers", run, n, n, 0, "distortion", "");
        char *errors = put_cell(s, "errors", run, n, n, 0, "product_error", "");
        char *angles = put_cell(s, "angles", run, n, n, 0, "angles", "");
        put_result(s, layers, "nmse_key", -1, 0.1, 0.001);
        put_result(s, errors, "product_error_rms", -1, 0.34, 0.01);
        put_result(s, errors, "product_error_mean", 0, 0.01, 0.001);
        for (uint32_t i = 0; i < 30 * 3; i++)
            assert_ok(store_sample(s, layers, 0, &(probe_sample){ "nmse_key", i / 3, i % 3, 0.1 * (1 + i), 1 }, err));
        for (uint32_t bin = 40; bin < 60; bin++)
            assert_ok(store_sample(s, errors, 0, &(probe_sample){ "product_error_count", 0, bin, 10, 1 }, err));
        for (uint32_t level = 1; level <= 4; level++) {
            char *ks = text_format("angle_ks_%u", level), *chi2 = text_format("angle_chi2_%u", level);
            put_result(s, angles, ks, -1, 0.0123, 0);
            put_result(s, angles, chi2, -1, 7470, 0.2);
            for (uint32_t bin = 0; bin < 64; bin++)
                assert_ok(store_sample(s, angles, 0, &(probe_sample){ "angle_count", level, bin, 1 + bin % 7, 1 }, err));
            free(ks);
            free(chi2);
        }
        free(layers);
        free(errors);
        free(angles);
    }
}

static void put_groups(store *s, int64_t run)
{
    for (uint32_t n = 1; n < 3; n++) {
        char *key = put_cell(s, "sensitivity", run, n, n, 0, "sensitivity",
                             "\"probe\":{\"params\":{\"weights\":\"kl\",\"groups\":\"head\",\"sides\":\"apart\"}}");
        put_result(s, key, "kv_heads", 0, 3, 0);
        put_result(s, key, "sensitivity_ratio", 0, 8360, 500);
        for (unsigned group = 0; group < 30 * 3 * 2; group++) {
            char metric[32];
            snprintf(metric, sizeof metric, "kl_group_%u", group);
            put_result(s, key, metric, -1, 1e-3 * (1 + group * group % 500), 1e-5);
        }
        free(key);
    }
    for (uint32_t i = 0; i < 16; i++) {
        char *config = text_format("{\"value\":{\"params\":{\"bits\":%u}},\"key\":{\"params\":{\"bits\":%u}}}", 2 + i % 4, 2 + i / 4);
        char *key = text_format("grid-%u", i);
        static const double nll[UNITS] = { 1, 2, 3, 2 };
        store_cell cell = made_cell(key, names[1].label, 3);
        cell.config = config, cell.probe = "divergence", cell.key_quantizer = cell.value_quantizer = "turboquant_mse";
        finish_cell(s, "grid", i, &cell, run, nll);
        put_result(s, key, "kl", -1, 0.5 / (1 + i), 0.00123);
        free(key);
        free(config);
    }
}

static void put_speed(store *s, int64_t run)
{
    for (uint32_t i = 0; i < 3 * 3 * 2; i++) {
        static const double bytes[] = { 512, 80, 144 };
        const uint32_t depths[] = { 1024, 8192, 65536 }, n = i % 3;
        put_attention(s, "roofline", run, i, names[n].label, names[n].bits, bytes[n], depths[i / 3 % 3], 1 + i / 9);
        put_attention(s, "depth", run, i, names[n].label, names[n].bits, bytes[n] * (1 + i / 3 % 3), depths[i / 3 % 3], 1 + i / 9);
    }
    for (uint32_t n = 1; n < NAMES; n++) {
        char *key = put_cell(s, "journey", run, n, n, 0, "throughput", "");
        put_result(s, key, "encode_ns", -1, 800.0 / n, 10);
        free(key);
    }
}

void put_pictures(store *s)
{
    static const char *const experiments[] = { "angles", "correlation", "depth", "distortion", "errors", "grid", "journey", "layers",
                                               "needle", "pareto", "products", "roofline", "sensitivity" };
    static const char question[] = "{\"questions\":[{\"name\":\"q\",\"question\":\"turboquant_mse or turboquant_prod, on both "
        "sides or on keys alone?\",\"metric\":\"nll\",\"compare\":[[\"turboquant_mse 2b hadamard\",\"" APART "\"],"
        "[\"turboquant_mse 3b hadamard\",\"affine 4b\"],[\"turboquant_mse 2b hadamard\",\"turboquant_prod 2b hadamard constant\"]]}]}";
    const int64_t run = put_run(s, "kvant run");
    for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++)
        assert_ok(store_experiment(s, experiments[i], "{}", err));
    assert_ok(store_experiment(s, "compare", question, err));
    put_by_model(s, run);
    put_vectors(s, run);
    put_samples(s, run);
    put_groups(s, run);
    put_speed(s, run);
    for (uint32_t i = 0; i < 4 * 9; i++) {
        static const char *const depths[] = { "0", "0.5", "1" };
        put_needle(s, "needle", run, i, names[i / 9].label, depths[i % 3], 256 << i / 3 % 3, i % 5);
    }
}
