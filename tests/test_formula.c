/* test_formula.c - arithmetic in texts: values, what binds how, names, and that whatever is not understood is refused with its place.
 * Values are held against the same expressions in C. */
#include "harness/formula.h"
#include "tests/scratch.h"

#include <math.h>

static bool two_names(const void *user, const char *name, double *value)
{
    (void)user;
    *value = !strcmp(name, "bits_stored") ? 2.25 : 7;
    return !strcmp(name, "bits_stored") || !strcmp(name, "reference.nll");
}

static void values(void **state)
{
    (void)state;
    const struct { const char *formula; double value; } cases[] = {
        { "1", 1 }, { " 1.5e2 ", 150 }, { ".5", .5 }, { "2+3*4", 14 }, { "(2+3)*4", 20 }, { "7-3-2", 2 }, { "16/4/2", 2 }, { "2^3^2",
                512 },
        { "-2^2", -4 }, { "2^-1", .5 }, { "2*-3", -6 }, { "--2", 2 }, { "sqrt(2)", sqrt(2) }, { "exp(1)*log(3)", exp(1) * log(3) },
        { "log2(8)", 3 }, { "abs(3-5)", 2 }, { "16 / bits_stored", 16 / 2.25 }, { "reference.nll - 1", 6 }, { "28*1024*2^20/2^20",
                28672 },
        { "1/0", INFINITY },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value;
        assert_ok(formula_value(cases[i].formula, two_names, NULL, &value, err));
        if (value != cases[i].value)
            fail_msg("%s = %.17g, not %.17g", cases[i].formula, value, cases[i].value);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *formula, *words; } cases[] = {
        { "", "character 1: a number, a name or (" }, { "1 +", "character 4" }, { "1 2", "character 3: an operator" }, { "(1",
                "a ) is missing" },
        { "1)", "character 2: an operator" }, { "sinh(1)", "character 1: no such function" }, { "16 / bitz", "character 6: nothing "
                "of that name" },
        { "0x10", "decimal" }, { "1;2", "operator" }, { "inf", "nothing of that name" }, { "nan", "nothing of that name" }, { "*1",
                "character 1" },
        { "2^", "character 3" }, { "sqrt()", "character 6" }, { ".", "a number" },
    };
    double value;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(formula_value(cases[i].formula, two_names, NULL, &value, err), KVANT_INVALID, cases[i].words);
    static char deep[20001];
    memset(deep, '(', 20000);
    assert_fails(formula_value(deep, NULL, NULL, &value, err), KVANT_INVALID, "nested too deeply");
    memset(deep, '-', 20000);
    assert_fails(formula_value(deep, NULL, NULL, &value, err), KVANT_INVALID, "nested too deeply");
    memset(deep, 'a', 20000);
    assert_fails(formula_value(deep, two_names, NULL, &value, err), KVANT_INVALID, "too long");
    assert_fails(formula_value("bits_stored", NULL, NULL, &value, err), KVANT_INVALID, "nothing of that name");
}

static void forms(void **state)
{
    (void)state;
    bool names;
    assert_ok(formula_check("12.3 / 4.1", &names, err));
    assert_false(names);
    assert_ok(formula_check("sqrt(x) / 4.1", &names, err));
    assert_true(names);
    assert_fails(formula_check("x / ", &names, err), KVANT_INVALID, "character 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(refusals), cmocka_unit_test(forms) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
