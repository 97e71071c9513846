/* test_planted_rvq.c - a published bug of the residual quantizer, planted: Laplacian scales in proportion to 4^-b where the
 * residual's deviation belongs. As a method of its own name it has oracles; under the right method's name it must fail them. */
#include "tests/planted.h"

#include <gsl/gsl_errno.h>

#define quantizer_rvq right
#include "algorithms/rvq.c"

/* A variance's bound taken for a deviation, whatever is asked for. */
static kvant_status init_by_bound(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    kvant_args bound = *args;
    bound.v[STAGE2] = PUBLISHED_0_3;
    return init(shape, &bound, state, err);
}

static void test_scale_by_bound(void **state)
{
    (void)state;
    kvant_quantizer planted = right;
    planted.init = init_by_bound;
    for (int b = 1; b <= 3; b += 2) {
        char args[64];
        snprintf(args, sizeof args, "bits=%d,stage2=true_scale", b);
        assert_int_equal(planted_failures(&right, "nmse", args), 0);
        assert_true(planted_failures(&planted, "nmse", args) > 0);
        snprintf(args, sizeof args, "bits=%d,stage2=published_0_94", b);
        assert_true(planted_failures(&planted, "nmse", args) > 0);
        snprintf(args, sizeof args, "bits=%d,stage2=published_0_3", b);
        assert_int_equal(planted_failures(&planted, "nmse", args), 0);
    }
}

/* What versions 0.3 and 0.94 are is defined for two stages. */
static void test_published_forms_have_two_stages(void **state)
{
    (void)state;
    kvant_args args = kvant_defaults(right.params);
    kvant_shape shape = { .dim = 64, .side = KVANT_KEY };
    kvant_plan needs = { 0 };
    kvant_error err = { "" };
    args.v[STAGES] = 3;
    assert_int_equal(plan(&shape, &args, &needs, &err), KVANT_SKIP);
    assert_non_null(strstr(err.text, "published_0_94 has two stages, not 3"));
    args.v[STAGE2] = FITTED;
    assert_int_equal(plan(&shape, &args, &needs, &err), KVANT_OK);
    assert_true(needs.bits_asked == 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scale_by_bound),
                                        cmocka_unit_test(test_published_forms_have_two_stages) };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
