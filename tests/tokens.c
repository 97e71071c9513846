/* tokens.c - see tokens.h.
 * Shared by the tests of small vocabularies and of reference strings. */
#include "tests/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void expect_ids(const tokenizer *t, const char *text, size_t bytes, bool add, bool parse, const int32_t *ids, size_t n)
{
    int32_t *got;
    size_t n_got;
    kvant_error err = {""};
    if (tokenizer_encode(t, text, bytes, add, parse, &got, &n_got, &err))
        fail_msg("%s", err.text);
    if (n_got != n || (n && memcmp(got, ids, n * sizeof *ids))) {
        for (size_t i = 0; i < n_got; i++)
            print_message("%d ", got[i]);
        fail_msg("are not the %zu ids of '%.*s' (add %d, parse %d)", n, (int)bytes, text, add, parse);
    }
    free(got);
}

void expect_text(const tokenizer *t, const int32_t *ids, size_t n, bool special, const char *text, size_t bytes)
{
    char *got;
    size_t n_got;
    kvant_error err = {""};
    if (tokenizer_decode(t, ids, n, special, &got, &n_got, &err))
        fail_msg("%s", err.text);
    assert_int_equal(n_got, bytes);
    assert_memory_equal(got, text, bytes);
    assert_int_equal(got[bytes], 0);
    free(got);
}

void expect_round_trip(const tokenizer *t, const char *text, size_t bytes)
{
    int32_t *ids;
    size_t n;
    kvant_error err = {""};
    for (int parse = 0; parse < 2; parse++) {
        if (tokenizer_encode(t, text, bytes, false, parse, &ids, &n, &err))
            fail_msg("%s", err.text);
        expect_text(t, ids, n, true, text, bytes);
        free(ids);
    }
}
