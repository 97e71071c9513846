/* test_variant.c - changed passages: only what the kind changes differs, as often as was asked, and the same seed makes the same. */
#include "harness/measure/variant.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char passage[] = "Many people said that the method is very simple. \"Perhaps,\" she wrote, caf\xc3\xa9 or not, "
                              "electroencephalography 42 shows a strange result.";

static char *make(variant_kind kind, const char *of, size_t changes, uint32_t seed, size_t want)
{
    char *variant = NULL;
    size_t changed = 99;
    kvant_error err = { "" };
    if (variant_make(kind, of, changes, seed, &variant, &changed, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    assert_int_equal(changed, want);
    return variant;
}

static void case_turns_first_letters(void **state)
{
    (void)state;
    for (size_t changes = 0; changes < 6; changes++)
        for (uint32_t seed = 0; seed < 20; seed++) {
            char *v = make(VARIANT_CASE, passage, changes, seed, changes);
            size_t differ = 0;
            assert_int_equal(strlen(v), strlen(passage));
            for (size_t i = 0; v[i]; i++) {
                if (v[i] == passage[i])
                    continue;
                differ++;
                assert_int_equal(tolower(v[i]), tolower(passage[i]));
                assert_true(i == 0 || !isalpha((unsigned char)v[i - 1]));
                assert_true(strncmp(passage + i, "caf", 3) && strncmp(passage + i, "electro", 7));
            }
            assert_int_equal(differ, changes);
            free(v);
        }
}

static void spacing_doubles_spaces(void **state)
{
    (void)state;
    char *v = make(VARIANT_SPACING, passage, 4, 7, 4);
    assert_int_equal(strlen(v), strlen(passage) + 4);
    size_t doubled = 0, j = 0;
    for (size_t i = 0; v[i]; i++) {
        if (v[i] == ' ' && passage[j] != ' ') {
            assert_int_equal(v[i - 1], ' ');
            doubled++;
        } else {
            assert_int_equal(v[i], passage[j++]);
        }
    }
    assert_int_equal(doubled, 4);
    assert_true(variant_same_answer(v, passage));
    free(v);
}

static void ending_is_a_space_or_a_line(void **state)
{
    (void)state;
    size_t lines = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        char *v = make(VARIANT_ENDING, passage, 3, seed, 1);
        const size_t n = strlen(passage);
        assert_memory_equal(v, passage, n);
        assert_true(!strcmp(v + n, " ") || !strcmp(v + n, "\n"));
        lines += v[n] == '\n';
        free(v);
    }
    assert_true(lines > 5 && lines < 35);
}

static void synonyms_replace_whole_words(void **state)
{
    (void)state;
    char *v = make(VARIANT_SYNONYM, passage, 100, 0, 9);
    assert_string_equal(v, "Numerous persons stated that the technique is really plain. \"Maybe,\" she wrote, caf\xc3\xa9 or not, "
                           "electroencephalography 42 displays a peculiar result.");
    free(v);
    /* no word of the list, though some begin or end like one */
    static const char none[] = "Bigger MANY shipshape problem5 \xc3\xa9part";
    v = make(VARIANT_SYNONYM, "Bigger MANY shipshape, \xc3\xa9part", 3, 0, 0);
    assert_string_equal(v, "Bigger MANY shipshape, \xc3\xa9part");
    free(v);
    v = make(VARIANT_SYNONYM, none, 3, 0, 1);          /* digits end a word */
    assert_string_equal(v, "Bigger MANY shipshape difficulty5 \xc3\xa9part");
    free(v);
    v = make(VARIANT_SYNONYM, "", 3, 0, 0);
    assert_string_equal(v, "");
    free(v);
}

static void seeds_draw_places(void **state)
{
    (void)state;
    for (int kind = 0; kind < VARIANT_KINDS; kind++) {
        char *first = make((variant_kind)kind, passage, 1, 3, 1), *again = make((variant_kind)kind, passage, 1, 3, 1);
        assert_string_equal(first, again);
        bool differ = false;
        for (uint32_t seed = 4; seed < 24; seed++) {
            char *other = make((variant_kind)kind, passage, 1, seed, 1);
            differ = differ || strcmp(first, other) != 0;
            free(other);
        }
        assert_true(differ);
        free(first);
        free(again);
    }
}

static void answers_that_read_the_same(void **state)
{
    (void)state;
    static const struct { const char *a, *b; bool same; } pairs[] = {
        { "a b", " a  b\n", true }, { "", " \n", true }, { "a b", "ab", false }, { "a", "a b", false }, { "A", "a", false },
        { "a b c", "a\nb\tc", true }, { "a b ", "a b c", false }, { "a", "", false },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(variant_same_answer(pairs[i].a, pairs[i].b), pairs[i].same);
        assert_int_equal(variant_same_answer(pairs[i].b, pairs[i].a), pairs[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_turns_first_letters), cmocka_unit_test(spacing_doubles_spaces),
        cmocka_unit_test(ending_is_a_space_or_a_line), cmocka_unit_test(synonyms_replace_whole_words),
        cmocka_unit_test(seeds_draw_places), cmocka_unit_test(answers_that_read_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
