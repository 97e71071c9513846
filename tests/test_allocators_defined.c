/* test_allocators_defined.c - allocators where an answer is a matter of definition: placement, curves that rise, budgets and groups that
 * cannot be, weights and fitted curves. Expected choices are worked out by hand. */
#include "harness/allocation/curve.h"
#include "tests/problems.h"

/* ---- Placement --------------------------------------------------------------------------------------- */

static void uniform_straddles_evenly(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    plain(&q, 8, 3, 2, 1);
    weighted_losses(&q);
    q.p.budget = 2.5;
    assert_true(run("uniform", "", &q, choice).asked == 2.5);
    static const uint32_t halves[] = { 0, 1, 0, 1, 0, 1, 0, 1 };
    assert_memory_equal(choice, halves, sizeof halves);
    assert_true(run("uniform", "straddle=none", &q, choice).asked == 2);
    q.p.budget = 3.25;
    assert_true(run("uniform", "", &q, choice).asked == 3.25);
    static const uint32_t quarters[] = { 1, 1, 1, 2, 1, 1, 1, 2 };
    assert_memory_equal(choice, quarters, sizeof quarters);
    q.p.budget = 4;
    assert_true(run("uniform", "", &q, choice).asked == 4);
    q.p.by_stored = true;
    q.p.budget = 3;
    assert_true(run("uniform", "", &q, choice).stored == 3);
}

static void boundary_takes_both_ends(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    plain(&q, 12, 3, 2, 1);
    for (size_t i = 0; i < 12; i++)
        q.layer[i] = (uint32_t)i / 2;
    weighted_losses(&q);
    q.p.budget = 3;                    /* 12 steps: 8 of them for the boundary, and every second of the others gets one */
    assert_true(run("boundary", "layers=1", &q, choice).asked == 3);
    static const uint32_t all[] = { 2, 2, 0, 1, 0, 1, 0, 1, 0, 1, 2, 2 };
    assert_memory_equal(choice, all, sizeof all);
    run("boundary", "layers=1,straddle=none", &q, choice);
    static const uint32_t one[] = { 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2 };
    assert_memory_equal(choice, one, sizeof one);
    q.p.budget = 3.5;
    assert_true(run("boundary", "layers=1", &q, choice).asked == 3.5);
    static const uint32_t more[] = { 2, 2, 1, 1, 1, 2, 1, 1, 1, 2, 2, 2 };
    assert_memory_equal(choice, more, sizeof more);
    q.p.budget = 2.5;                  /* 6 steps: 4 raise the boundary by one, and 2 of it by another */
    assert_true(run("boundary", "layers=1", &q, choice).asked == 2.5);
    static const uint32_t less[] = { 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2 };
    assert_memory_equal(choice, less, sizeof less);
    refused("boundary", &q, "the first and last 4 of 6 layers leave none between them");
}

/* ---- Defined answers ----------------------------------------------------------------------------------- */

/* A published greedy looks at the next candidate only: it stays at the first one here for ever. */
static void no_curve_stalls(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    static const double rises[] = { 1, 1.2, .1 }, late[] = { 1, .99, 0 }, flat[] = { 1, 1, 1 };
    static const double *const curves[] = { rises, late, flat };
    static const char *const names[] = { "exact", "greedy", "knapsack" };
    for (size_t k = 0; k < 3; k++) {
        plain(&q, 3, 3, 2, 1);
        for (size_t i = 0; i < 3; i++)
            memcpy(q.curve + 3 * i, curves[i], sizeof rises);
        weighted_losses(&q);
        q.p.budget = 4;
        run(names[k], "", &q, choice);
        assert_true(choice[0] == 2 && choice[1] == 2 && choice[2] == 0);      /* bits that gain nothing stay unspent */
        q.p.budget = 3;                 /* three steps: one group to the top, and the one left over helps nobody */
        run(names[k], "", &q, choice);
        assert_true(choice[0] == 0 && choice[1] == 2 && choice[2] == 0);
    }
}

static void infeasible_budgets_get_the_range(void **state)
{
    (void)state;
    static problem q;
    plain(&q, 5, 3, 2, 1);
    weighted_losses(&q);
    static const double budgets[] = { 1.9, 4.1, 0, -3, NAN, INFINITY, 1e300 };
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++)
        for (size_t k = 0; k < sizeof budgets / sizeof *budgets; k++) {
            q.p.budget = budgets[k];
            refused((*a)->name, &q, "these candidates allow 2 to 4");
        }
    q.protect[0] = true;
    q.p.budget = 2.3;
    refused("exact", &q, "allow 2.4 to 4, with the protected groups at the largest");
    q.p.by_stored = true;
    refused("exact", &q, "stored bits per coordinate: these candidates allow 2.9 to 4.5");
}

static void one_group_and_none(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    static const char *const names[] = { "exact", "greedy", "knapsack", "ratequant", "uniform" };
    plain(&q, 1, 3, 2, 1);
    weighted_losses(&q);
    q.p.budget = 3.7;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        run(names[k], "", &q, choice);
        assert_int_equal(choice[0], 1);
    }
    q.p.n_candidates = 1;
    q.p.budget = 2;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        run(names[k], "", &q, choice);
        assert_int_equal(choice[0], 0);
    }
    q.p.n_groups = 0;
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++)
        refused((*a)->name, &q, "0 groups; there must be 1");
}

static void no_weight_at_all(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    plain(&q, 4, 3, 2, 1);
    memset(q.weight, 0, sizeof q.weight);
    weighted_losses(&q);
    q.p.budget = 3;
    const allocation_result r = run("ratequant", "", &q, choice);
    assert_true(r.asked == 3 && r.loss == 0 && r.relative == 1);
    assert_true(choice[0] == 1 && choice[1] == 1 && choice[2] == 1 && choice[3] == 1);
    q.weight[2] = 1;
    run("ratequant", "", &q, choice);
    assert_true(choice[2] == 2 && choice[0] + choice[1] + choice[3] == 2);
}

/* Size counts: one large group at 4 bits is dearer than three small ones. */
static void groups_count_by_size(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    plain(&q, 4, 2, 2, 2);
    q.size[0] = 192;
    q.weight[0] = 1.5;
    weighted_losses(&q);
    q.p.budget = 3;                    /* 384 coordinates: half of them may go up */
    const allocation_result r = run("exact", "", &q, choice);
    assert_true(choice[0] == 0 && choice[1] == 1 && choice[2] == 1 && choice[3] == 1 && r.asked == 3);
    q.weight[0] = 3.5;
    weighted_losses(&q);
    run("exact", "", &q, choice);
    assert_true(choice[0] == 1 && choice[1] == 0 && choice[2] == 0 && choice[3] == 0);
}

/* Sizes that have nothing in common: no two ways cost the same. `exact` says so, and the others go on without the comparison. */
static void too_many_ways(void **state)
{
    (void)state;
    static problem q;
    uint32_t choice[GROUPS];
    uint64_t size = 1;
    plain(&q, 40, 2, 2, 1);
    for (size_t i = 0; i < 40; i++) {
        size = size * 48271 % 2147483647;
        q.size[i] = 1 + (double)(size % 1000000);
        q.weight[i] = q.size[i];       /* all are worth the same per bit: no way is worse than a cheaper one */
    }
    weighted_losses(&q);
    q.p.budget = 2.5;
    kvant_error err = { "" };
    allocation_result result;
    const kvant_args none = kvant_defaults(NULL);
    assert_int_equal(allocator_run(allocator_find("exact", &err), &none, &q.p, choice, &result, &err), KVANT_FAILED);
    assert_non_null(strstr(err.text, "ways to spend the budget"));
    assert_true(isnan(run("greedy", "", &q, choice).relative));
}

static void bad_problems_are_refused(void **state)
{
    (void)state;
    static problem q;
    plain(&q, 3, 3, 2, 1);
    weighted_losses(&q);
    q.p.budget = 3;
    q.size[1] = 0;
    refused("exact", &q, "group 1: size");
    q.size[1] = 64, q.weight[2] = -1;
    refused("exact", &q, "group 2: weight");
    q.weight[2] = 1, q.beta[0] = 1;
    refused("ratequant", &q, "no alpha * beta^-bits fits the curve of group 0");
    q.beta[0] = 3.5, q.alpha[1] = NAN;
    refused("ratequant", &q, "no alpha * beta^-bits fits the curve of group 1");
    q.alpha[1] = 1, q.loss[4] = NAN;
    refused("exact", &q, "group 1: loss and curve");
    q.loss[4] = 1, q.asked[8] = 2;
    refused("exact", &q, "group 2: bits must be above 0 and rise");
    q.asked[8] = sqrt(10);
    refused("exact", &q, "no multiples");
    q.asked[8] = 4, q.candidates[1] = 2;
    refused("exact", &q, "candidates must be ascending");
    q.candidates[1] = 3;
    uint32_t choice[GROUPS];
    run("exact", "", &q, choice);
}

/* ---- Weights and curves ---------------------------------------------------------------------------------- */

static void weights_by_name(void **state)
{
    (void)state;
    kvant_error err;
    allocation_weights w;
    assert_int_equal(allocation_weights_find("kl", &w, &err), KVANT_OK);
    assert_int_equal(w, WEIGHTS_KL);
    static const char *const backward[] = { "gradient", "fisher" };
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(allocation_weights_find(backward[k], &w, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, "need a backward pass"));
    }
    assert_int_equal(allocation_weights_find("distorsion", &w, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "did you mean 'distortion'?"));
    assert_true(fabs(allocation_weight((const double[]){ 6, 3, 1.5 }, (const double[]){ 2, 1, .5 }, 3) - 3) <= 1e-15);
    assert_true(allocation_weight((const double[]){ -1e-9, 0 }, (const double[]){ 2, 1 }, 2) == 0);
}

/* RateQuant's own fits. */
static void curves_are_fitted(void **state)
{
    (void)state;
    static const struct { double alpha, beta; } fits[] = { { 1.51, 3.57 }, { 17.87, 5.09 }, { 13.18, 5.31 } };
    static const double bits[] = { 1, 2, 3, 4 };
    kvant_error err;
    curve c;
    double d[4];
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < 4; i++)
            d[i] = fits[k].alpha * pow(fits[k].beta, -bits[i]);
        assert_int_equal(curve_fit(bits, d, 4, &c, &err), KVANT_OK);
        assert_true(fabs(c.alpha / fits[k].alpha - 1) <= 1e-12 && fabs(c.beta / fits[k].beta - 1) <= 1e-12 && fabs(c.r2 - 1) <= 1e-12);
        assert_true(fabs(curve_at(&c, 2) / d[1] - 1) <= 1e-12);
    }
    /* ln D = 0, -1, -5 at 1, 2, 3: slope -5/2, intercept 3, residuals -1/2, 1, -1/2 of a total of 14. */
    const double bent[] = { 1, exp(-1), exp(-5) };
    assert_int_equal(curve_fit(bits, bent, 3, &c, &err), KVANT_OK);
    assert_true(fabs(log(c.beta) - 2.5) <= 1e-12 && fabs(log(c.alpha) - 3) <= 1e-12 && fabs(c.r2 - (1 - 1.5 / 14)) <= 1e-12);
    assert_true(fabs(curve_at(&CURVE_CONSTANTS, 2) - 1 / 12.25) <= 1e-15 && isnan(CURVE_CONSTANTS.r2));
    const double rising[] = { 1, 2, 3, 4 }, zero[] = { 1, 0 }, same[] = { 2, 2 };
    assert_int_equal(curve_fit(bits, rising, 4, &c, &err), KVANT_INVALID);
    assert_int_equal(curve_fit(bits, zero, 2, &c, &err), KVANT_INVALID);
    assert_int_equal(curve_fit(bits, bent, 1, &c, &err), KVANT_INVALID);
    assert_int_equal(curve_fit(same, bent, 2, &c, &err), KVANT_INVALID);
    curve_kind kind;
    assert_int_equal(curve_find("constant", &kind, &err), KVANT_OK);
    assert_int_equal(kind, CURVE_CONSTANT);
    assert_int_equal(curve_find("fited", &kind, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "did you mean 'fitted'?"));
}

static void names(void **state)
{
    (void)state;
    kvant_error err;
    assert_null(allocator_find("greeedy", &err));
    assert_non_null(strstr(err.text, "allocator 'greeedy' is unknown, did you mean 'greedy'?"));
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++)
        assert_true((*a)->summary && (*a)->source && (*a)->params && allocator_find((*a)->name, &err) == *a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_straddles_evenly), cmocka_unit_test(boundary_takes_both_ends), cmocka_unit_test(no_curve_stalls),
        cmocka_unit_test(infeasible_budgets_get_the_range), cmocka_unit_test(one_group_and_none), cmocka_unit_test(no_weight_at_all),
        cmocka_unit_test(groups_count_by_size), cmocka_unit_test(too_many_ways), cmocka_unit_test(bad_problems_are_refused), cmocka_unit_test(weights_by_name),
        cmocka_unit_test(curves_are_fitted), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
