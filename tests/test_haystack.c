/* test_haystack.c - sentences cut from awkward texts, and messages that keep their length, depth and secret.
 * Words are counted in place of tokens: whoever counts, the bound must hold. */
#include "harness/measure/haystack.h"
#include "harness/util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static haystack open_text(const char *source)
{
    haystack h;
    kvant_error err = { "" };
    if (haystack_open(source, strlen(source), &h, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return h;
}

static void assert_sentence(const haystack *h, size_t i, const char *want)
{
    assert_true(i < h->n);
    size_t length = h->start[i + 1] - h->start[i] - 1;
    assert_int_equal(length, strlen(want));
    assert_memory_equal(h->text + h->start[i], want, length);
    assert_int_equal(h->text[h->start[i + 1] - 1], ' ');
}

static void cuts_sentences(void **state)
{
    (void)state;
    haystack h = open_text("A heading without a stop\n\n  The first   sentence runs\nover two lines.  \"Is this the second one?\" It "
                           "has,\r\ne.g. this one, small letters after a stop.\n\n1 2 3\n4 5 6\n\nToo short. The last ends with "
                           "the text (it does!)\n\nThis one is never ended");
    assert_int_equal(h.n, 4);
    assert_sentence(&h, 0, "The first sentence runs over two lines.");
    assert_sentence(&h, 1, "\"Is this the second one?\"");
    assert_sentence(&h, 2, "It has, e.g. this one, small letters after a stop.");
    assert_sentence(&h, 3, "The last ends with the text (it does!)");
    haystack_close(&h);
}

static void refuses_no_prose(void **state)
{
    (void)state;
    static const char *const texts[] = { "", " \n ", "no stop at all in this text", "A. B. C.", "\n\n\n.\n\n\n!" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        haystack h;
        kvant_error err = { "" };
        assert_int_equal(haystack_open(texts[i], strlen(texts[i]), &h, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, "sentence"));
    }
    /* NULs and bytes that are no UTF-8 pass as white space and as letters. */
    static const char wild[] = "A line with a NUL\0 and \xff\xfe in it ends here.";
    haystack h;
    assert_int_equal(haystack_open(wild, sizeof wild - 1, &h, NULL), KVANT_OK);
    assert_int_equal(h.n, 1);
    assert_sentence(&h, 0, "A line with a NUL and \xff\xfe in it ends here.");
    haystack_close(&h);
}

/* n sentences of different lengths, numbered. */
static char *long_text(size_t n)
{
    text t = { 0 };
    for (size_t i = 0; i < n; i++) {
        text_add(&t, "Sentence %zu of this text has", i);
        for (size_t j = 0; j < i * 7 % 11; j++)
            text_add(&t, " more");
        text_add(&t, " words to say.%s", i % 5 == 4 ? "\n\n" : " ");
    }
    assert_false(t.failed);
    return t.data;
}

static kvant_status count_words(void *user, const char *message, size_t *tokens, kvant_error *err)
{
    (void)err;
    size_t *calls = user;
    (*calls)++;
    *tokens = 0;
    for (const char *s = message; *s; s++)
        *tokens += *s != ' ' && *s != '\n' && (s == message || s[-1] == ' ' || s[-1] == '\n');
    return KVANT_OK;
}

static size_t occurrences(const char *s, const char *what)
{
    size_t n = 0;
    for (; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static const haystack_task seven = { .kind = HAYSTACK_SINGLE, .digits = 7 };

static haystack_trial drawn(const haystack *h, uint32_t seed, uint32_t trial, uint32_t trials, const haystack_task *task)
{
    haystack_trial t;
    kvant_error err = { "" };
    if (haystack_draw(h, seed, trial, trials, task, &t, &err) != KVANT_OK)
        fail_msg("%s", err.text);
    return t;
}

static void fits_length_and_depth(void **state)
{
    (void)state;
    char *source = long_text(400);
    haystack h = open_text(source);
    assert_int_equal(h.n, 400);
    static const double depths[] = { 0, .1, .5, .9, 1 };
    for (uint32_t trial = 0; trial < 5; trial++)
        for (size_t length = 100; length < 1600; length += 371) {
            const haystack_trial t = drawn(&h, 3, trial, 5, &seven);
            const char *number = t.fact[0].value;
            assert_int_equal(t.n, 1);
            assert_int_equal(haystack_answers(&t), 1);
            assert_int_equal(strlen(number), 7);
            assert_int_equal(strspn(number, "0123456789"), 7);
            assert_null(strstr(source, number));
            for (size_t i = 1; i < 7; i++)
                assert_true(number[i] != number[i - 1]);
            char *fact = text_format("The special magic number for %s is %s.", t.fact[0].city, number);
            char *start = haystack_answer(&t, 0);
            assert_memory_equal(start, fact, strlen(start));

            const char *last = NULL;
            char *others[5] = { 0 };
            for (size_t d = 0; d < 5; d++) {
                double at = NAN;
                size_t calls = 0, words = 0;
                kvant_status status = haystack_message(&h, &t, length, depths[d], count_words, &calls, &others[d], &at, NULL);
                assert_int_equal(status, KVANT_OK);
                count_words(&calls, others[d], &words, NULL);
                /* The longest sentence here has 19 words: what is missing is less than one. */
                assert_true(words <= length && words + 19 > length);
                assert_int_equal(occurrences(others[d], number), 1);
                assert_int_equal(occurrences(others[d], fact), 1);

                /* Depth by bytes of the prose, from the message itself. */
                const char *prose = strstr(others[d], "\n\n") + 2, *where = strstr(prose, fact), *end = strstr(prose, "\n\n");
                double before = (double)(where - prose), whole = (double)(end - prose) - (double)strlen(fact);
                assert_true(fabs(before / whole - at) < .01);
                assert_true(fabs(at - depths[d]) < 120 / whole);
                assert_true(where == prose || where[-1] == ' ');
                last = others[d];
            }
            assert_non_null(last);
            assert_string_not_equal(others[0], others[4]);
            for (size_t d = 0; d < 5; d++)
                free(others[d]);
            free(fact);
            free(start);
        }
    haystack_close(&h);
    free(source);
}

static void draws_are_fixed_and_differ(void **state)
{
    (void)state;
    char *source = long_text(300);
    haystack h = open_text(source);
    const haystack_task five = { .kind = HAYSTACK_SINGLE, .digits = 5 };
    haystack_trial a[6], b;
    for (uint32_t i = 0; i < 6; i++) {
        a[i] = drawn(&h, 0, i, 6, &five);
        b = drawn(&h, 0, i, 6, &five);
        assert_string_equal(a[i].fact[0].value, b.fact[0].value);
        assert_string_equal(a[i].fact[0].city, b.fact[0].city);
        assert_int_equal(a[i].first, b.first);
        /* each in its own sixth of the text */
        assert_true(a[i].first >= i * 50 && a[i].first < (i + 1) * 50);
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(a[i].fact[0].value, a[j].fact[0].value);
    }
    b = drawn(&h, 1, 0, 6, &five);
    assert_string_not_equal(a[0].fact[0].value, b.fact[0].value);

    /* A single needle is what it was when there was no other kind; of several kinds, fact 0 is that one. */
    static const struct { const char *city, *number; size_t first; } fixed[] = { { "Hanoi", "76792", 49 }, { "Hanoi", "10548", 59 } };
    for (uint32_t i = 0; i < 2; i++) {
        assert_string_equal(a[i].fact[0].city, fixed[i].city);
        assert_string_equal(a[i].fact[0].value, fixed[i].number);
        assert_int_equal(a[i].first, fixed[i].first);
        b = drawn(&h, 0, i, 6, &(haystack_task){ .kind = HAYSTACK_MULTI_KEY, .digits = 5, .facts = 3 });
        assert_string_equal(b.fact[0].city, fixed[i].city);
        assert_string_equal(b.fact[0].value, fixed[i].number);
    }
    haystack_close(&h);
    free(source);
}

static void number_is_not_in_the_text(void **state)
{
    (void)state;
    /* All numbers of 4 digits but one half stand in the text: draws must miss them, or say that there is none. */
    for (int all = 0; all < 2; all++) {
        text t = { 0 };
        text_add(&t, "Here comes a sentence that is long enough.");
        for (int i = 1000; i < (all ? 10000 : 5500); i++)
            text_add(&t, " %d", i);
        haystack h = open_text(t.data);
        for (uint32_t trial = 0; trial < 50; trial++) {
            haystack_trial t4;
            kvant_error err = { "" };
            kvant_status status = haystack_draw(&h, 0, trial, 50, &(haystack_task){ .digits = 4 }, &t4, &err);
            if (all) {
                assert_int_equal(status, KVANT_INVALID);
                assert_non_null(strstr(err.text, "digits"));
            } else {
                assert_int_equal(status, KVANT_OK);
                assert_null(strstr(t.data, t4.fact[0].value));
            }
        }
        haystack_close(&h);
        text_free(&t);
    }
}

static void says_what_does_not_fit(void **state)
{
    (void)state;
    char *source = long_text(20);
    haystack h = open_text(source);
    haystack_trial t = drawn(&h, 0, 0, 1, &seven);
    char *message = NULL;
    double at;
    size_t calls = 0;
    kvant_error err = { "" };
    assert_int_equal(haystack_message(&h, &t, 10, .5, count_words, &calls, &message, &at, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "greater length"));
    assert_int_equal(haystack_message(&h, &t, 100000, .5, count_words, &calls, &message, &at, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "all 20 sentences"));
    assert_null(message);
    static const haystack_task wrong[] = { { HAYSTACK_MULTI_KEY, false, 7, 0 }, { HAYSTACK_MULTI_VALUE, false, 7, HAYSTACK_MAX_FACTS + 1 },
                                           { HAYSTACK_SINGLE, false, HAYSTACK_MAX_DIGITS + 1, 1 }, { HAYSTACK_SINGLE, false, 0, 1 } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(haystack_draw(&h, 0, 0, 1, &wrong[i], &t, NULL), KVANT_INVALID);
    haystack_close(&h);
    free(source);
}

/* Every fact once, in a message within its length; the one that is asked for at its depth, the others where they were drawn to. */
static void hides_several(void **state)
{
    (void)state;
    char *source = long_text(200);
    haystack h = open_text(source);
    for (int kind = HAYSTACK_MULTI_KEY; kind <= HAYSTACK_MULTI_QUERY; kind++)
        for (int words = 0; words < 2; words++)
            for (uint32_t trial = 0; trial < 3; trial++) {
                const haystack_task task = { (haystack_kind)kind, words, 6, trial ? 4 : HAYSTACK_MAX_FACTS };
                const haystack_trial t = drawn(&h, 1, trial, 3, &task);
                assert_int_equal(t.n, task.facts);
                assert_int_equal(haystack_answers(&t), kind == HAYSTACK_MULTI_QUERY ? t.n : 1);
                char *message = NULL;
                double at = NAN;
                size_t calls = 0, n_words = 0;
                assert_int_equal(haystack_message(&h, &t, 700, .25, count_words, &calls, &message, &at, NULL), KVANT_OK);
                count_words(&calls, message, &n_words, NULL);
                assert_true(n_words <= 700 && n_words + 19 > 700);
                const char *prose = strstr(message, "\n\n") + 2, *question = strstr(prose, "\n\n") + 2;
                assert_true(fabs(at - .25) < .05);
                for (size_t i = 0; i < t.n; i++) {
                    const haystack_fact *f = &t.fact[i];
                    assert_int_equal(occurrences(message, f->value), 1);
                    assert_null(strstr(source, f->value));
                    assert_int_equal(strlen(f->value), words ? HAYSTACK_WORD : 6);
                    char *fact = text_format("%s special magic %s for %s is %s.", kind == HAYSTACK_MULTI_VALUE ? "One" : "The",
                                             words ? "word" : "number", f->city, f->value);
                    const char *where = strstr(prose, fact);
                    assert_true(where && where < question && (where == prose || where[-1] == ' '));
                    assert_true(fabs((double)(where - prose) / (double)(question - prose) - (i ? f->place : .25)) < .2);
                    assert_int_equal(strstr(question, f->city) != NULL, kind != HAYSTACK_MULTI_KEY || i == 0);
                    for (size_t j = 0; j < i; j++)
                        assert_int_equal(!strcmp(t.fact[j].city, f->city), kind == HAYSTACK_MULTI_VALUE);
                    free(fact);
                }
                free(message);
            }
    haystack_close(&h);
    free(source);
}

static void reads_answers(void **state)
{
    (void)state;
    const haystack_trial numbers = { .task = { HAYSTACK_MULTI_VALUE, false, 4, 3 }, .n = 3,
                                     .fact = { { "Oslo", "1234", 0 }, { "Oslo", "5678", 0 }, { "Oslo", "9012", 0 } } };
    const haystack_trial words = { .task = { HAYSTACK_MULTI_VALUE, true, 4, 2 }, .n = 2,
                                   .fact = { { "Oslo", "bakotilu", 0 }, { "Oslo", "nerivuza", 0 } } };
    static const struct { const char *answer; bool exact, found[3]; } of_numbers[] = {
        { " 1234, 5678 and 9012.", true, { 1, 1, 1 } }, { "9012 1234 5678 1234", true, { 1, 1, 1 } },
        { " 1234, 5678.\n 9012", false, { 1, 1, 0 } }, { " 12345, 5678, 9012", false, { 0, 1, 1 } },
        { " 1234, 5678, 9012, 1111", false, { 1, 1, 1 } }, { " 1234, 5678, 9012\n1111", true, { 1, 1, 1 } },
        { "", false, { 0, 0, 0 } }, { " none", false, { 0, 0, 0 } }, { ".1234", false, { 0, 0, 0 } },
    }, of_words[] = {
        { " bakotilu and nerivuza.", true, { 1, 1 } }, { " nerivuza, bakotilu", true, { 1, 1 } }, { " bakotilus, nerivuza", false, { 0, 1 } },
        { " the words bakotilu and nerivuza", false, { 1, 1 } }, { " Bakotilu, nerivuza", false, { 0, 1 } },
    };
    bool found[HAYSTACK_MAX_FACTS];
    for (size_t i = 0; i < sizeof of_numbers / sizeof *of_numbers; i++) {
        assert_int_equal(haystack_named(&numbers, of_numbers[i].answer, found), of_numbers[i].exact);
        assert_memory_equal(found, of_numbers[i].found, 3 * sizeof *found);
    }
    for (size_t i = 0; i < sizeof of_words / sizeof *of_words; i++) {
        assert_int_equal(haystack_named(&words, of_words[i].answer, found), of_words[i].exact);
        assert_memory_equal(found, of_words[i].found, 2 * sizeof *found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_sentences),
        cmocka_unit_test(refuses_no_prose),
        cmocka_unit_test(fits_length_and_depth),
        cmocka_unit_test(draws_are_fixed_and_differ),
        cmocka_unit_test(number_is_not_in_the_text),
        cmocka_unit_test(says_what_does_not_fit),
        cmocka_unit_test(hides_several),
        cmocka_unit_test(reads_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
