/* test_spec_variant.c - what a spec says about itself, its quick variant, and the rows of expectations that papers need.
 * Both variants are read from one text: what is wrong in either is refused with its line. */
#include "harness/experiment/spec.h"
#include "tests/scratch.h"

#include <math.h>

static const char paper[] =
    "{ \"name\": \"p\", \"title\": \"Needles\", \"paper\": \"arXiv 1\", \"minutes\": 25, \"golden\": 1e-9,\n"
    "  \"probe\": \"perplexity\", \"model\": \"m\", \"data\": \"d\", \"chunks\": 8, \"window\": 4,\n"
    "  \"quick\": { \"chunks\": 2, \"sink\": [1, 2], \"window\": null, \"minutes\": 3 },\n"
    "  \"expect\": [ { \"only\": \"full\", \"metric\": \"a\", \"value\": 1, \"tolerance\": 1 }, { \"metric\": \"b\", \"value\": 1, "
    "\"tolerance\": 1 },\n"
    "    { \"only\": \"quick\", \"metric\": \"c\", \"value\": 1, \"tolerance\": 1 } ] }";

static kvant_status parse(bool quick, const char *json, const char *const *sets, size_t n, spec *s, kvant_error *err)
{
    return (quick ? spec_parse_quick : spec_parse)("x.json", json, strlen(json), sets, n, s, err);
}

static double first_number(const spec *s, const char *axis)
{
    for (size_t i = 0; i < s->n_axes; i++)
        if (!strcmp(s->axes[i].name, axis))
            return s->axes[i].choices[0].item->valuedouble;
    return NAN;
}

static void both_variants(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse(false, paper, NULL, 0, &s, err));
    assert_string_equal(s.name, "p");
    assert_string_equal(s.title, "Needles");
    assert_string_equal(s.paper, "arXiv 1");
    assert_true(s.minutes == 25 && s.golden == 1e-9 && s.has_quick && !s.quick);
    assert_true(first_number(&s, "chunks") == 8 && first_number(&s, "window") == 4 && isnan(first_number(&s, "sink")));
    assert_null(strstr(s.json, "\"c\""));
    assert_non_null(strstr(s.json, "\"a\""));
    assert_null(strstr(s.json, "\"quick\":"));        /* what is kept is what was run */
    spec_close(&s);

    const char *sets[] = { "chunks=3" };
    assert_ok(parse(true, paper, sets, 1, &s, err));
    assert_string_equal(s.name, "p-quick");
    assert_string_equal(s.title, "Needles");
    assert_true(s.minutes == 3 && s.has_quick && s.quick);
    assert_true(first_number(&s, "chunks") == 3 && isnan(first_number(&s, "window")) && first_number(&s, "sink") == 1);
    assert_int_equal(s.n_axes, 5);
    assert_null(strstr(s.json, "\"a\""));
    assert_non_null(strstr(s.json, "\"b\""));
    assert_non_null(strstr(s.json, "\"c\""));
    assert_null(strstr(s.json, "\"quick\":"));
    /* What is kept in the store reads as the same experiment. */
    spec again;
    assert_ok(parse(false, s.json, NULL, 0, &again, err));
    assert_string_equal(again.name, "p-quick");
    assert_int_equal(again.n_axes, s.n_axes);
    spec_close(&again);
    spec_close(&s);
}

static void refused(bool quick, const char *line, const char *message)
{
    spec s;
    kvant_error err = { "" };
    char *json = text_format("{ \"name\": \"t\", \"minutes\": 2,\n%s,\n\"probe\": \"perplexity\", \"model\": \"m\", \"data\": \"d\" "
                             "}", line);
    if (parse(quick, json, NULL, 0, &s, &err) != KVANT_INVALID || !strstr(err.text, message))
        fail_msg("%s: '%s' instead of '%s'", line, err.text, message);
    assert_null(s.doc);
    free(json);
}

static void refusals(void **state)
{
    (void)state;
    /* A variant without rows of its own has no `expect`, and can be read again. */
    spec alone, again;
    const char only[] = "{ \"name\": \"t\", \"probe\": \"perplexity\", \"model\": \"m\", \"data\": \"d\", \"quick\": { \"chunks\": 2 "
                        "},\"expect\": [ { \"only\": \"quick\", \"metric\": \"m\", \"value\": 1, \"tolerance\": 1 } ] }";
    assert_ok(parse(false, only, NULL, 0, &alone, err));
    assert_null(strstr(alone.json, "expect"));
    assert_ok(parse(false, alone.json, NULL, 0, &again, err));
    spec_close(&alone);
    spec_close(&again);
    refused(true, "\"chunks\": 2", "has no `quick` variant");
    refused(false, "\"title\": 2", "x.json:2: title: must be one line");
    refused(false, "\"paper\": \"\"", "x.json:2: paper: must be one line");
    refused(false, "\"papers\": \"x\"", "did you mean `paper`?");
    refused(false, "\"quick\": 2", "x.json:2: quick: must be an object");
    refused(false, "\"quick\": {}", "x.json:2: quick: must be an object");
    /* A fault of the variant shows without asking for it, with its line. */
    refused(false, "\"quick\": { \"chunk\": 2 }", "x.json:2: chunk: unknown key; did you mean `chunks`?");
    refused(false, "\"quick\": { \"name\": \"n\" }", "x.json:2: quick.name: is the same in both");
    refused(false, "\"quick\": { \"quick\": {} }", "x.json:2: quick.quick: is the same in both");
    refused(false, "\"quick\": { \"minutes\": 3 }", "takes more minutes than the whole");
    refused(false, "\"quick\": { \"minutes\": 0 }", "x.json:2: minutes: must be the minutes");
    refused(false, "\"golden\": true", "x.json:2: golden: must be the relative tolerance");
    refused(false, "\"golden\": -1", "x.json:2: golden: must be the relative tolerance");
    refused(true, "\"quick\": { \"probe\": null }", "`probe` is missing");
    spec s;
    const char no_name[] = "{ \"quick\": { \"chunks\": 2 }, \"probe\": \"perplexity\", \"model\": \"m\", \"data\": \"d\" }";
    assert_fails(parse(true, no_name, NULL, 0, &s, err), KVANT_INVALID, "`name` is missing");
}

static void rows(void **state)
{
    (void)state;
#define ROW(text) "\"expect\": [{\"metric\": \"m\", \"value\": 1, " text "}]"
    static const struct { const char *line, *message; } cases[] = {
        { ROW("\"only\": \"both\", \"tolerance\": 1"), "expect[0].only: must be \"full\" or \"quick\"" },
        { ROW("\"bound\": \"up\""), "expect[0].bound: must be \"upper\" or \"lower\"" },
        { ROW("\"formula\": \"1 /\", \"tolerance\": 1"), "expect[0].formula: formula `1 /`, character 4" },
        { ROW("\"formula\": 1, \"tolerance\": 1"), "expect[0].formula: must be arithmetic in quotes" },
        { ROW("\"formula\": \"1\", \"sigma\": 1"), "expect[0].sigma: what a formula gives" },
        { ROW("\"formula\": \"1\", \"where\": {}, \"tolerance\": 1"), "expect[0].where: the formula has no names" },
        { ROW("\"against\": {\"bits\": 1}, \"tolerance\": 1"), "expect[0].against: names the cell" },
        { ROW("\"error\": \"e\", \"tolerance\": 1"), "expect[0]: `error`, the evidence" },
        { ROW("\"correct\": 2, \"tolerance\": 1"), "expect[0]: `error`, the evidence" },
        { ROW("\"correct\": 2, \"error\": \"e\", \"bound\": \"upper\""), "expect[0].bound: goes with" },
        { ROW("\"beside\": \"b\", \"tolerance\": 1"), "expect[0].beside: what is shown beside is not judged" },
        { ROW("\"beside\": \"b\", \"sigma\": 1"), "expect[0].beside: what is shown beside is not judged" },
        { ROW("\"besides\": \"b\""), "did you mean `beside`?" },
        { ROW("\"source\": \"s\""), "`tolerance` is missing" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(false, cases[i].line, cases[i].message);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_variants), cmocka_unit_test(refusals), cmocka_unit_test(rows) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
