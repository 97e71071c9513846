/* test_oracles.c - the registered quantizers hit their values, and quantizers with a planted bug do not.
 * A gate that nothing wrong has ever failed says nothing: every gate is shown to bite here. */
#include "algorithms/shared/codebook.h"
#include "algorithms/shared/rotation.h"
#include "algorithms/shared/vector.h"
#include "harness/check/check_internal.h"
#include "harness/measure/stats.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <math.h>
#include <stdatomic.h>

/* ---- Running checks --------------------------------------------------------------------------------------------- */

typedef struct { size_t rows; char failed[4096]; } rows_seen;      /* " name:metric" of each failing row */

static void see(void *user, const store_check *row)
{
    rows_seen *seen = user;
    size_t used = strlen(seen->failed);
    seen->rows++;
    assert_int_equal(strlen(row->code_version), 64);
    if (!strcmp(row->verdict, "fail"))
        snprintf(seen->failed + used, sizeof seen->failed - used, " %s:%s[%s %s %g]", row->name, row->metric, row->input, row->args,
                 row->measured);
}

static bool check_quick(const kvant_quantizer *q, const char *target, rows_seen *seen)
{
    bool passed = false;
    check_options options = { .target = target, .quick = true, .row = see, .user = seen };
    memset(seen, 0, sizeof *seen);
    assert_ok(check_run(q, &options, &passed, err));
    return passed;
}

/* tests/checks.sh checks all quantizers by their best kernels, so here is the scalar code of those that have some. */
static void test_scalar_code(void **state)
{
    (void)state;
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        const kvant_shape shape = { .dim = 128, .side = KVANT_VECTOR };
        kvant_codec best;
        rows_seen seen;
        assert_ok(kvant_describe(*q, &shape, NULL, NULL, &best, err));
        if (strcmp(best.target, "scalar") && !check_quick(*q, "scalar", &seen))
            fail_msg("%s: %s", (*q)->name, seen.failed);
    }
}

/* D and slope of turboquant_mse by dimension and bits, with the error of the measurement over 64 seeds; quick checks leave out 256. */
static void test_turboquant_table(void **state)
{
    (void)state;
    static const struct { uint32_t d; double D[4]; } table[] = {
        { 64, { .358387, .114526, .033391, .009132 } }, { 128, { .360889, .116000, .033966, .009315 } },
        { 256, { .362136, .116740, .034256, .009408 } }
    };
    static check_clusters clusters;
    check_options options = { .target = "scalar", .quick = true };
    const kvant_quantizer *q = kvant_find("turboquant_mse", NULL);
    assert_non_null(q);
    check c = { .quantizer = q, .options = &options, .synthetic = dataset_find("synthetic", NULL) };
    assert_non_null(c.synthetic);
    for (size_t i = 0; i < 3; i++)
        for (int b = 1; b <= 4; b++) {
            kvant_args args = kvant_defaults(q->params);
            args.v[0] = b;
            assert_ok(check_measure(&c, "gaussian", table[i].d, &args, 32, CHECK_SEEDS, &clusters, err));
            stats_mean D = stats_clustered(clusters.value[FIDELITY_NMSE], clusters.weight[FIDELITY_NMSE], CHECK_SEEDS);
            stats_mean slope = stats_clustered(clusters.value[FIDELITY_IP_SLOPE], clusters.weight[FIDELITY_IP_SLOPE], CHECK_SEEDS);
            assert_true(D.se < .02 * table[i].D[b - 1] && slope.se < .01);
            assert_true(fabs(D.mean - table[i].D[b - 1]) <= 5e-7 + 4.5 * D.se);
            assert_true(fabs(slope.mean - (1 - table[i].D[b - 1])) <= 5e-7 + 4.5 * slope.se);
        }
}

/* ---- A small algorithm 1 with a bug of choice ------------------------------------------------------------------- */

enum { D_MAX = 128, BITS = 2, CELLS = 1 << BITS };

static enum {
    NO_BUG,
    /* wrong values */
    NARROW_CENTROIDS, OTHER_DIMENSION, OFF_MIDPOINT, INVERSE_FOR_TRANSPOSE, NORM_DROPPED, NO_ROTATION, SHRUNK,
    /* broken promises */
    WRITES_BEYOND, LEAVES_BITS, STATE_VARIES, STATE_POINTS, RANGE_MATTERS, SCORE_OFF, MIX_OVERWRITES, ZERO_IS_NAN, RISES
} bug;

typedef struct {
    uint32_t d;
    float c[256], threshold[256];
    const float *into;             /* used by STATE_POINTS */
    float pi[D_MAX * D_MAX];
} planted_state;

static atomic_uint states_made;

static kvant_status planted_plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *plan, kvant_error *err)
{
    if (shape->dim > D_MAX)
        return kvant_fail(err, KVANT_SKIP, "planted: dim is above %d", D_MAX);
    plan->state = sizeof(planted_state);
    plan->code = sizeof(float) + shape->dim + (bug == LEAVES_BITS);
    plan->query = plan->acc = shape->dim;
    plan->query *= sizeof(float);
    plan->scratch = 2 * shape->dim * sizeof(float);
    plan->bits_asked = args->v[0];
    return KVANT_OK;
}

static kvant_status planted_init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    planted_state *s = state;
    double c[256];
    unsigned b = (unsigned)args->v[0];
    s->d = shape->dim;
    kvant_status status = codebook_solve(CODEBOOK_EXACT, bug == OTHER_DIMENSION ? 8 : s->d, b, c, NULL, err);
    for (size_t k = 0; k < 256; k++)
        s->c[k] = k < (size_t)1 << b ? (float)(c[k] / sqrt(s->d)) : INFINITY;
    codebook_thresholds(s->c, (size_t)1 << b, s->threshold);
    for (size_t k = (1u << b) - 1; k < 256; k++)
        s->threshold[k] = INFINITY;
    for (size_t k = 0; k + 1 < (size_t)1 << b && bug == OFF_MIDPOINT; k++)
        s->threshold[k] += .2f * (s->c[k + 1] - s->c[k]);
    for (size_t k = 0; k < (size_t)1 << b && bug == NARROW_CENTROIDS; k++)
        s->c[k] *= .61f;
    if (bug == STATE_VARIES)
        s->c[255] = (float)atomic_fetch_add(&states_made, 1);
    s->into = bug == STATE_POINTS ? s->c : NULL;
    return status ? status : rotation_init(ROTATION_HAAR, s->d, shape->seed, s->pi, err);
}

static void planted_encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const planted_state *s = state;
    float *unit = scratch, *y = unit + s->d;
    size_t bytes = sizeof(float) + s->d + (bug == LEAVES_BITS);
    for (size_t v = 0; v < n; v++, x += s->d, code += bytes) {
        double sum = 0;
        for (size_t j = 0; j < s->d; j++)
            sum += (double)x[j] * x[j];
        float norm = (float)sqrt(sum);
        for (size_t j = 0; j < s->d; j++)
            unit[j] = sum > 0 ? (float)(x[j] / sqrt(sum)) : 0;
        if (bug == ZERO_IS_NAN)
            norm = (float)(norm / (norm > 0 ? 1 : 0.0f));
        memcpy(code, &norm, sizeof norm);
        rotation_forward(bug == NO_ROTATION ? ROTATION_NONE : ROTATION_HAAR, s->d, s->pi, unit, 1, y);
        for (size_t j = 0; j < s->d; j++)
            code[sizeof norm + j] = codebook_index(s->threshold, 8, y[j]);
        if (bug == RANGE_MATTERS && (first + v) % 2 && n == 1)
            code[sizeof norm] ^= 1;
    }
    if (bug == WRITES_BEYOND && n == 40)           /* as many as the gate encodes, between its guards */
        *code ^= 0x77;
}

static void look_up(const planted_state *s, const uint8_t *code, float *y)
{
    const float *c = bug == STATE_POINTS ? s->into : s->c;
    float norm;
    memcpy(&norm, code, sizeof norm);
    for (size_t j = 0; j < s->d; j++)
        y[j] = c[code[sizeof norm + j]] * (bug == NORM_DROPPED ? 1 : norm) * (bug == SHRUNK ? .98f : 1) * (bug == RISES ? -1 : 1);
}

static void planted_decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const planted_state *s = state;
    size_t bytes = sizeof(float) + s->d + (bug == LEAVES_BITS);
    (void)first;
    for (size_t v = 0; v < n; v++, x += s->d, code += bytes) {
        look_up(s, code, scratch);
        if (bug == INVERSE_FOR_TRANSPOSE)
            rotation_forward(ROTATION_HAAR, s->d, s->pi, scratch, 1, x);
        else
            rotation_inverse(bug == NO_ROTATION ? ROTATION_NONE : ROTATION_HAAR, s->d, s->pi, scratch, 1, x);
    }
}

static void planted_query(const void *state, const float *q, size_t nq, void *prepared, void *scratch)
{
    const planted_state *s = state;
    (void)scratch;
    rotation_forward(bug == NO_ROTATION ? ROTATION_NONE : ROTATION_HAAR, s->d, s->pi, q, nq, prepared);
}

static void planted_score(const void *state, const void *prepared, size_t nq, const uint8_t *code, size_t first, size_t n, float *dot,
                          void *scratch)
{
    const planted_state *s = state;
    size_t bytes = sizeof(float) + s->d + (bug == LEAVES_BITS);
    const float *q = prepared;
    (void)first;
    for (size_t v = 0; v < n; v++) {
        look_up(s, code + v * bytes, scratch);
        for (size_t i = 0; i < nq; i++)
            dot[i * n + v] = vector_dot(q + i * s->d, scratch, s->d) * (bug == SCORE_OFF ? 1.001f : 1);
    }
}

static void planted_mix(const void *state, const float *w, size_t nq, const uint8_t *code, size_t first, size_t n, float *acc,
                        void *scratch)
{
    const planted_state *s = state;
    size_t bytes = sizeof(float) + s->d + (bug == LEAVES_BITS);
    (void)first;
    if (bug == MIX_OVERWRITES)
        memset(acc, 0, nq * s->d * sizeof *acc);
    for (size_t v = 0; v < n; v++) {
        look_up(s, code + v * bytes, scratch);
        for (size_t i = 0; i < nq; i++)
            vector_add(acc + i * s->d, w[i * n + v], scratch, s->d);
    }
}

static void planted_finish(const void *state, const float *acc, size_t nq, float *out, void *scratch)
{
    const planted_state *s = state;
    (void)scratch;
    rotation_inverse(bug == NO_ROTATION ? ROTATION_NONE : ROTATION_HAAR, s->d, s->pi, acc, nq, out);
}

static const kvant_param planted_params[] = {
    { .name = "bits", .help = "bits of a code", .type = KVANT_INT, .def = BITS, .min = 1, .max = 4 }, { .name = NULL }
};

static const kvant_oracle planted_oracles[] = {
    { "gaussian", 64, "", "nmse", .114526, 5e-7, "table" }, { "sphere", 64, "", "ip_slope", 1 - .114526, 5e-7, "1 - D" },
    { "e1", 64, "", "nmse", .114526, 5e-7, "table" }, { "gaussian", 64, "bits=4", "nmse", .009132, 5e-7, "table" },
    { .input = NULL }
};

static const kvant_quantizer planted = {
    .name = "planted", .summary = "a test's", .source = "a test", .params = planted_params, .oracles = planted_oracles,
    .plan = planted_plan, .init = planted_init,
    .ops = { .encode = planted_encode, .decode = planted_decode, .query = planted_query, .score = planted_score, .mix = planted_mix,
             .finish = planted_finish }
};

/* The bug is found, by the row that is there to find it. */
static void expect_found(int planted_bug, const char *row)
{
    rows_seen seen;
    bug = planted_bug;
    bool passed = check_quick(&planted, "scalar", &seen);
    bug = NO_BUG;
    if (passed || !strstr(seen.failed, row))
        fail_msg("bug %d is not found by %s, but by: %s", planted_bug, row, seen.failed);
}

static void test_without_bug(void **state)
{
    (void)state;
    rows_seen seen;
    bug = NO_BUG;
    if (!check_quick(&planted, "scalar", &seen))
        fail_msg("%s", seen.failed);
    assert_true(seen.rows >= 12);
}

static void test_wrong_values_are_found(void **state)
{
    (void)state;
    expect_found(NARROW_CENTROIDS, "oracle:nmse");
    expect_found(OTHER_DIMENSION, "oracle:nmse");
    expect_found(OFF_MIDPOINT, "oracle:nmse");
    expect_found(INVERSE_FOR_TRANSPOSE, "oracle:nmse");
    expect_found(NORM_DROPPED, "oracle:nmse");
    expect_found(NO_ROTATION, "oracle:nmse[e1");       /* isotropic input cannot see it */
    expect_found(SHRUNK, "oracle:ip_slope");
}

static void test_broken_promises_are_found(void **state)
{
    (void)state;
    expect_found(WRITES_BEYOND, "bytes:");
    expect_found(LEAVES_BITS, "bytes:");
    expect_found(STATE_VARIES, "state:");
    expect_found(STATE_POINTS, "state:");
    expect_found(RANGE_MATTERS, "range:");
    expect_found(SCORE_OFF, "score:");
    expect_found(MIX_OVERWRITES, "mix:");
    expect_found(ZERO_IS_NAN, "finite:");
    expect_found(RISES, "nmse:");
    expect_found(RISES, "monotone:");
}

/* A value that nothing measures, and parameters that do not exist, are failures and not passes. */
static void test_tables_that_cannot_be_checked(void **state)
{
    (void)state;
    static const kvant_oracle unmeasured[] = { { "gaussian", 64, "", "beauty", 1, 0, "taste" }, { .input = NULL } };
    static const kvant_oracle unknown[] = { { "gaussian", 64, "bit=2", "nmse", 1, 0, "taste" }, { .input = NULL } };
    static const kvant_oracle not_drawn[] = { { "gausian", 64, "", "nmse", 1, 0, "taste" }, { .input = NULL } };
    const kvant_oracle *const tables[] = { unmeasured, unknown, not_drawn };
    for (size_t i = 0; i < 3; i++) {
        rows_seen seen;
        kvant_quantizer q = planted;
        q.oracles = tables[i];
        assert_false(check_quick(&q, "scalar", &seen));
        assert_non_null(strstr(seen.failed, "oracle:"));
    }
}

static void test_code_versions(void **state)
{
    (void)state;
    char a[SHA256_HEX], b[SHA256_HEX], c[SHA256_HEX];
    check_code_version(kvant_find("f16", NULL), "scalar", a);
    check_code_version(kvant_find("f16", NULL), "avx2", b);
    check_code_version(kvant_find("f32", NULL), "scalar", c);
    assert_int_equal(strlen(a), 64);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    check_code_version(kvant_find("f16", NULL), "scalar", b);
    assert_string_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_code), cmocka_unit_test(test_turboquant_table), cmocka_unit_test(test_without_bug),
        cmocka_unit_test(test_wrong_values_are_found), cmocka_unit_test(test_broken_promises_are_found),
        cmocka_unit_test(test_tables_that_cannot_be_checked),
        cmocka_unit_test(test_code_versions),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
