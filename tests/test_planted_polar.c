/* test_planted_polar.c - a published bug, planted: angles of level 1 left in (-pi, pi], where the cells are those of [0, 2 pi).
 * The method's own file is compiled again with the one wrong function, and its own table of oracles must turn it down. */
#include "harness/check.h"
#include "harness/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* An angle below 0 lies below every threshold and falls into cell 0, as 0 itself does. */
static double unwrapped(double y, double x) { return fmax(atan2(y, x), 0); }
static double wrapped(double y, double x) { return atan2(y, x); }

static double (*angle_of)(double, double);

#define atan2(y, x) angle_of(y, x)
#define quantizer_polarquant planted
#include "algorithms/polarquant.c"

typedef struct { size_t oracles, gates; } failures;

static void count(void *user, const store_check *row)
{
    failures *f = user;
    bool failed = !strcmp(row->verdict, "fail");
    *(strcmp(row->name, "oracle") ? &f->gates : &f->oracles) += failed;
}

static failures failures_with(double (*function)(double, double))
{
    failures f = { 0, 0 };
    bool passed;
    kvant_error err;
    const check_options options = { .target = "scalar", .quick = true, .row = count, .user = &f };
    angle_of = function;
    if (check_run(&planted, &options, &passed, &err))
        fail_msg("%s", err.text);
    assert_int_equal(passed, f.oracles + f.gates == 0);
    return f;
}

static void test_unwrapped_angles(void **state)
{
    (void)state;
    failures right = failures_with(wrapped), wrong = failures_with(unwrapped);
    print_message("wrapped: %zu oracles fail, unwrapped: %zu (and %zu gates)\n", right.oracles, wrong.oracles, wrong.gates);
    assert_int_equal(right.oracles + right.gates, 0);
    assert_true(wrong.oracles > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_unwrapped_angles) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
