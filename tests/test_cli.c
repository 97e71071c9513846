/* test_cli.c - the command line's parser against everything that a user may type wrongly.
 * Commands here are the test's own; that each real command's help works is tests/cli.sh's affair. */
#include "harness/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int nothing(const cli *c) { (void)c; return EXIT_DONE; }

static const cli_option options[] = {
    { .name = "store", .argument = "FILE", .help = "the store" },
    { .name = "threads", .argument = "N", .help = "threads" },
    { .name = "set", .argument = "KEY=VALUE", .help = "overrides a key", .repeat = true },
    { .name = "pair", .argument = "A B", .help = "two things" },
    { .name = "quiet", .help = "no progress" },
    { 0 }
};

static const cli_command command = {
    .name = "try", .arguments = "SPEC [FILE]", .min_args = 1, .max_args = 2, .summary = "Try things",
    .details = "A paragraph\nof two lines.\n\nAnother one:\n  kept apart\nand an end.", .example = "# tries it\nkvant try a.json", .options = options, .run = nothing
};

/* Parses up to six words after "kvant try". */
static kvant_status parse(cli **c, kvant_error *err, const char *const words[])
{
    static char copies[8][64];
    char *argv[9] = { copies[0], copies[1] };
    int argc = 2;
    strcpy(copies[0], "kvant");
    strcpy(copies[1], "try");
    for (; words[argc - 2]; argc++) {
        assert_true(argc < 8 && strlen(words[argc - 2]) < sizeof copies[0]);
        argv[argc] = strcpy(copies[argc], words[argc - 2]);
    }
    return cli_open(&command, argc, argv, c, err);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void takes_options_in_both_forms_and_any_order(void **state)
{
    (void)state;
    cli *c;
    kvant_error err;
    assert_int_equal(parse(&c, &err, WORDS("--store=a=b", "spec", "--set", "x=1", "--set=y=it's")), KVANT_OK);
    assert_string_equal(cli_get(c, "store"), "a=b");
    assert_string_equal(cli_get_nth(c, "set", 0), "x=1");
    assert_string_equal(cli_get_nth(c, "set", 1), "y=it's");
    assert_null(cli_get_nth(c, "set", 2));
    assert_string_equal(cli_get(c, "set"), "y=it's");
    assert_null(cli_get(c, "quiet"));
    assert_int_equal(cli_n_args(c), 1);
    assert_string_equal(cli_arg(c, 0), "spec");
    assert_null(cli_arg(c, 1));
    assert_null(cli_arg(c, -1));
    assert_string_equal(cli_line(c), "kvant try --store=a=b spec --set x=1 '--set=y=it'\\''s'");
    cli_close(c);
}

static void takes_two_values_where_the_table_says_so(void **state)
{
    (void)state;
    cli *c;
    kvant_error err;
    assert_int_equal(parse(&c, &err, WORDS("--pair", "a", "b c", "spec", "--quiet")), KVANT_OK);
    assert_string_equal(cli_get_nth(c, "pair", 0), "a");
    assert_string_equal(cli_get_nth(c, "pair", 1), "b c");
    assert_null(cli_get_nth(c, "pair", 2));
    assert_int_equal(cli_n_args(c), 1);
    assert_string_equal(cli_arg(c, 0), "spec");
    cli_close(c);
    assert_int_equal(parse(&c, &err, WORDS("spec", "--pair=a=1", "-")), KVANT_OK);
    assert_string_equal(cli_get_nth(c, "pair", 0), "a=1");
    assert_string_equal(cli_get_nth(c, "pair", 1), "-");
    cli_close(c);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    cli *c;
    kvant_error err;
    assert_int_equal(parse(&c, &err, WORDS("--quiet", "--", "--store", "-")), KVANT_OK);
    assert_string_equal(cli_get(c, "quiet"), "");
    assert_null(cli_get(c, "store"));
    assert_int_equal(cli_n_args(c), 2);
    assert_string_equal(cli_arg(c, 0), "--store");
    assert_string_equal(cli_arg(c, 1), "-");
    cli_close(c);
    assert_int_equal(parse(&c, &err, WORDS("-")), KVANT_OK);
    assert_string_equal(cli_arg(c, 0), "-");
    cli_close(c);
}

static void refuses(const char *const words[], const char *part)
{
    cli *c;
    kvant_error err = { "" };
    assert_int_equal(parse(&c, &err, words), KVANT_INVALID);
    assert_null(c);
    if (!strstr(err.text, part))
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    refuses((const char *const[]){ NULL }, "missing argument: kvant try SPEC [FILE]");
    refuses(WORDS("a", "b", "surplus"), "'surplus'");
    refuses(WORDS("a", "--stor", "x"), "did you mean '--store'");
    refuses(WORDS("a", "--stor=x"), "unknown option '--stor'");
    refuses(WORDS("a", "-q"), "unknown option '-q'");
    refuses(WORDS("a", "--store"), "--store needs a value");
    refuses(WORDS("a", "--store", "--"), "--store needs a value");
    refuses(WORDS("a", "--store", "--quiet"), "'--quiet' is an option");
    refuses(WORDS("a", "--quiet=1"), "--quiet takes no value");
    refuses(WORDS("a", "--store=x", "--store=y"), "--store is given twice");
    refuses(WORDS("a", "--="), "unknown option '--'");
    refuses(WORDS("a", "--pair"), "--pair needs two values: --pair A B");
    refuses(WORDS("a", "--pair", "x"), "--pair needs two values: --pair A B");
    refuses(WORDS("a", "--pair", "x", "--"), "--pair needs two values");
    refuses(WORDS("a", "--pair", "x", "--quiet"), "'--quiet' is an option");
    refuses(WORDS("--pair", "x", "y", "--pair", "x", "y"), "--pair is given twice");
}

static void integers_keep_their_range(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "0", "65", "4x", " ", "1e1", "0x4", "99999999999999999999", "-1" };
    kvant_error err;
    cli *c;
    long long n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char word[64];
        snprintf(word, sizeof word, "--threads=%s", bad[i]);
        assert_int_equal(parse(&c, &err, WORDS("a", word)), KVANT_OK);
        assert_false(cli_get_int(c, "threads", 1, 64, 2, &n));
        cli_close(c);
    }
    assert_int_equal(parse(&c, &err, WORDS("a", "--threads", "64")), KVANT_OK);
    assert_true(cli_get_int(c, "threads", 1, 64, 2, &n));
    assert_int_equal(n, 64);
    cli_close(c);
    assert_int_equal(parse(&c, &err, WORDS("a")), KVANT_OK);
    assert_true(cli_get_int(c, "threads", 1, 64, 2, &n));
    assert_int_equal(n, 2);
    cli_close(c);
}

static void help_is_seen_before_two_dashes_only(void **state)
{
    (void)state;
    assert_true(cli_wants_help(4, (char *[]){ "kvant", "try", "a", "--help" }));
    assert_true(cli_wants_help(3, (char *[]){ "kvant", "try", "-h" }));
    assert_false(cli_wants_help(4, (char *[]){ "kvant", "try", "--", "--help" }));
    assert_false(cli_wants_help(2, (char *[]){ "kvant", "--help" }));
}

static void help_names_every_option_and_the_example(void **state)
{
    (void)state;
    text t = { 0 };
    cli_help(&command, &t);
    assert_false(t.failed);
    assert_non_null(strstr(t.data, "kvant try [OPTION...] SPEC [FILE]\n"));
    assert_non_null(strstr(t.data, "  --set KEY=VALUE "));
    assert_non_null(strstr(t.data, "  --quiet "));
    assert_non_null(strstr(t.data, "\n\nA paragraph of two lines.\n\nAnother one:\n  kept apart\nand an end.\n\n"));
    assert_non_null(strstr(t.data, "Example:\n  # tries it\n  kvant try a.json\n"));
    text_free(&t);
}

static void commands_are_sorted_and_complete(void **state)
{
    (void)state;
    const cli_command *const *all = cli_commands();
    assert_non_null(all[0]);
    for (size_t i = 0; all[i]; i++) {
        kvant_error err;
        assert_ptr_equal(cli_find(all[i]->name, &err), all[i]);
        assert_true(i == 0 || strcmp(all[i - 1]->name, all[i]->name) < 0);
        assert_non_null(all[i]->run);
        assert_true(*all[i]->summary);
        assert_non_null(all[i]->arguments);
        assert_non_null(strstr(all[i]->example, "kvant "));
        assert_true(all[i]->max_args < 0 || all[i]->min_args <= all[i]->max_args);
    }
}

static void an_unknown_command_names_the_nearest(void **state)
{
    (void)state;
    kvant_error err;
    assert_null(cli_find("hepl", &err));
    assert_non_null(strstr(err.text, "did you mean 'help'"));
    assert_null(cli_find("qqqqqqqqqqqq", &err));
    assert_non_null(strstr(err.text, "kvant --help"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_options_in_both_forms_and_any_order),
        cmocka_unit_test(takes_two_values_where_the_table_says_so),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(integers_keep_their_range),
        cmocka_unit_test(help_is_seen_before_two_dashes_only),
        cmocka_unit_test(help_names_every_option_and_the_example),
        cmocka_unit_test(commands_are_sorted_and_complete),
        cmocka_unit_test(an_unknown_command_names_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
