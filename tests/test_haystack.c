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

static void fits_length_and_depth(void **state)
{
    (void)state;
    char *source = long_text(400);
    haystack h = open_text(source);
    assert_int_equal(h.n, 400);
    static const double depths[] = { 0, .1, .5, .9, 1 };
    for (uint32_t trial = 0; trial < 5; trial++)
        for (size_t length = 100; length < 1600; length += 371) {
            haystack_trial t;
            assert_int_equal(haystack_draw(&h, 3, trial, 5, 7, &t, NULL), KVANT_OK);
            assert_int_equal(strlen(t.number), 7);
            assert_int_equal(strspn(t.number, "0123456789"), 7);
            assert_null(strstr(source, t.number));
            for (size_t i = 1; i < 7; i++)
                assert_true(t.number[i] != t.number[i - 1]);
            char *fact = text_format("The special magic number for %s is %s.", t.city, t.number);
            char *start = haystack_answer(&t);
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
                assert_int_equal(occurrences(others[d], t.number), 1);
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
    haystack_trial a[6], b;
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(haystack_draw(&h, 0, i, 6, 5, &a[i], NULL), KVANT_OK);
        assert_int_equal(haystack_draw(&h, 0, i, 6, 5, &b, NULL), KVANT_OK);
        assert_string_equal(a[i].number, b.number);
        assert_string_equal(a[i].city, b.city);
        assert_int_equal(a[i].first, b.first);
        /* each in its own sixth of the text */
        assert_true(a[i].first >= i * 50 && a[i].first < (i + 1) * 50);
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(a[i].number, a[j].number);
    }
    assert_int_equal(haystack_draw(&h, 1, 0, 6, 5, &b, NULL), KVANT_OK);
    assert_string_not_equal(a[0].number, b.number);
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
            haystack_trial drawn;
            kvant_error err = { "" };
            kvant_status status = haystack_draw(&h, 0, trial, 50, 4, &drawn, &err);
            if (all) {
                assert_int_equal(status, KVANT_INVALID);
                assert_non_null(strstr(err.text, "digits"));
            } else {
                assert_int_equal(status, KVANT_OK);
                assert_null(strstr(t.data, drawn.number));
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
    haystack_trial t;
    assert_int_equal(haystack_draw(&h, 0, 0, 1, 7, &t, NULL), KVANT_OK);
    char *message = NULL;
    double at;
    size_t calls = 0;
    kvant_error err = { "" };
    assert_int_equal(haystack_message(&h, &t, 10, .5, count_words, &calls, &message, &at, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "greater length"));
    assert_int_equal(haystack_message(&h, &t, 100000, .5, count_words, &calls, &message, &at, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "all 20 sentences"));
    assert_null(message);
    haystack_close(&h);
    free(source);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
