/* test_planted.c - ten bugs of published implementations, each planted into a method's own file: the checks of `kvant check` that are
 * there for it turn it down, and pass without it. A gate that nothing wrong has ever failed says nothing. */
#include "harness/check/check_internal.h"
#include "tests/planted.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>

/* Which rows find a bug: of the quantizer's oracles those whose metric and parameters hold these texts, or a gate. */
static const struct {
    const char *bug;
    planted_bug planted;
    const kvant_quantizer *quantizer;
    const char *metric, *args;     /* args NULL: metric is the name of a gate */
} bugs[] = {
    { "Laplacian scale in proportion to 4^-b", PLANTED_SCALE_BY_BOUND, &planted_rvq, "nmse", "bits=1,stage2=true_scale" },
    { "atan2 in (-pi, pi] unwrapped", PLANTED_UNWRAPPED, &planted_polar, "nmse", "" },
    { "codebook of another dimension", PLANTED_OTHER_DIMENSION, &planted_mse, "nmse", "bits=2" },
    { "centroids .61 times too narrow", PLANTED_NARROW_CENTROIDS, &planted_mse, "nmse", "bits=2" },
    { "residual sketch stored but unused", PLANTED_SKETCH_UNUSED, &planted_prod, "ip_slope", "bits=2,m=64" },
    { "QR without the sign fix", PLANTED_NO_SIGN_FIX, &planted_mse, "rotation", NULL },
    { "|x| dropped on unnormalised input", PLANTED_NORM_DROPPED, &planted_mse, "nmse", "bits=3" },
    { "prod's constant with m != d", PLANTED_FACTOR_OF_D, &planted_prod, "ip_slope", "bits=2,m=100" },
    { "inverse rotation Pi for Pi^T", PLANTED_INVERSE, &planted_mse, "nmse", "bits=2" },
    { "thresholds off the midpoints", PLANTED_OFF_MIDPOINT, &planted_mse, "nmse", "bits=4" },
};
enum { BUGS = sizeof bugs / sizeof *bugs, ROWS = 64 };

typedef struct { const char *gate; size_t rows, failed; } seen;

static void see(void *user, const store_check *row)
{
    seen *s = user;
    if (s->gate && strcmp(row->name, s->gate))
        return;
    s->rows++;
    s->failed += !strcmp(row->verdict, "fail");
}

/* How many of those rows fail with a bug; at least one must be there. */
static size_t failures(planted_bug bug, const kvant_quantizer *quantizer, const char *metric, const char *args)
{
    kvant_oracle rows[ROWS + 1] = { { .input = NULL } };
    size_t n = 0;
    for (const kvant_oracle *o = quantizer->oracles; args && o->input && n < ROWS; o++)
        if (strstr(o->metric, metric) && strstr(o->args, args) && o->dim <= 128)
            rows[n++] = *o;
    assert_true(n < ROWS);
    kvant_quantizer chosen = *quantizer;
    if (args)
        chosen.oracles = rows;
    seen s = { .gate = args ? NULL : metric };
    const check_options options = { .target = "scalar", .quick = true, .row = see, .user = &s };
    check c = { .quantizer = &chosen, .options = &options, .synthetic = dataset_find("synthetic", NULL) };
    assert_non_null(c.synthetic);
    planted = bug;
    if (args)
        assert_ok(check_oracles(&c, err));
    else
        assert_ok(check_states(&c, err));
    planted = PLANTED_NONE;
    assert_true(s.rows > 0 && (!args || s.rows == n));
    return s.failed;
}

static void test_ten_bugs_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < BUGS; i++) {
        size_t without = failures(PLANTED_NONE, bugs[i].quantizer, bugs[i].metric, bugs[i].args);
        size_t with = failures(bugs[i].planted, bugs[i].quantizer, bugs[i].metric, bugs[i].args);
        print_message("%-40s %2zu rows fail, %zu without it\n", bugs[i].bug, with, without);
        if (without || !with)
            fail_msg("%s: %zu rows fail, %zu without it", bugs[i].bug, with, without);
    }
    assert_int_equal(BUGS, 10);
}

static void expect(planted_bug bug, const kvant_quantizer *quantizer, const char *metric, const char *args, bool found)
{
    size_t failed = failures(bug, quantizer, metric, args);
    if ((failed > 0) != found)
        fail_msg("bug %d: %zu rows of %s with %s fail", (int)bug, failed, metric, args ? args : "any parameters");
}

/* Where else they show, and where they cannot. */
static void test_where_they_show(void **state)
{
    (void)state;
    expect(PLANTED_SKETCH_UNUSED, &planted_prod, "nmse", "bits=2,m=64", true);     /* smaller than it should be: too good is wrong too */
    expect(PLANTED_SKETCH_UNUSED, &planted_prod, "ip_variance", "bits=2,m=64", true);
    expect(PLANTED_FACTOR_OF_D, &planted_prod, "", "bits=4,residual_norm=constant,m=128", false);      /* m is d */
    expect(PLANTED_FACTOR_OF_D, &planted_prod, "nmse", "bits=2,m=64", true);
    expect(PLANTED_OTHER_DIMENSION, &planted_prod, "nmse", "bits=4,m=100", true);
    expect(PLANTED_NORM_DROPPED, &planted_prod, "nmse", "bits=2,m=100", true);
    expect(PLANTED_OTHER_STREAM, &planted_mse, "nmse", "outlier_bits=4,outlier_channels=8", true);
    expect(PLANTED_OTHER_STREAM, &planted_mse, "nmse", ",outlier_channels=32", false);             /* no stream of 8 channels */
    expect(PLANTED_NONE, &planted_mse, "nmse", "outlier_list=", false);
    expect(PLANTED_NO_SIGN_FIX, &planted_mse, "nmse", "bits=2", false);            /* the reason for the gate */
    expect(PLANTED_NO_SIGN_FIX, &planted_mse, "orthogonal", NULL, false);
    for (int b = 1; b <= 3; b += 2) {
        char args[64];
        snprintf(args, sizeof args, "bits=%d,stage2=published_0_94", b);
        expect(PLANTED_SCALE_BY_BOUND, &planted_rvq, "nmse", args, true);
        snprintf(args, sizeof args, "bits=%d,stage2=published_0_3", b);
        expect(PLANTED_SCALE_BY_BOUND, &planted_rvq, "nmse", args, false);
    }
}

/* A whole check of a planted quantizer does not pass, and that of the same file without a bug does. */
static void test_whole_checks(void **state)
{
    (void)state;
    static const struct { planted_bug bug; bool passes; } runs[] = { { PLANTED_NONE, true }, { PLANTED_UNWRAPPED, false } };
    for (size_t i = 0; i < 2; i++) {
        seen s = { .gate = NULL };
        const check_options options = { .target = "scalar", .quick = true, .row = see, .user = &s };
        bool passed;
        planted = runs[i].bug;
        assert_ok(check_run(&planted_polar, &options, &passed, err));
        planted = PLANTED_NONE;
        assert_int_equal(passed, runs[i].passes);
        assert_int_equal(passed, s.failed == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_ten_bugs_are_found), cmocka_unit_test(test_where_they_show),
                                        cmocka_unit_test(test_whole_checks) };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
