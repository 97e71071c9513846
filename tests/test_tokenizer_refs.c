/* test_tokenizer_refs.c - the tokenizer against another program's ids on its reference strings, and a whole text there and back.
 * Four lists of ids per string: with and without BOS and EOS, special tokens in the text parsed or not. */
#include "harness/input/input.h"
#include "harness/util.h"
#include "tests/conformance.h"
#include "tests/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t unhex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)strtoul((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
    return n;
}

/* SentencePiece spells U+2581 as it spells a space, so such a text cannot come back. */
static bool comes_back(const char *string, size_t bytes, bool spm) { return !spm || !memmem(string, bytes, "\xe2\x96\x81", 3); }

static void check_reference(const char *model, const char *strings, bool spm)
{
    kvant_error err = {""};
    gguf *file;
    tokenizer *t = NULL;
    char *data = NULL;
    size_t bytes = 0, lines = 0;
    if (gguf_open(model, &file, &err) || tokenizer_open(file, &t, &err) || file_read(strings, &data, &bytes, &err))
        fail_msg("%s", err.text);
    char *rest = data;
    for (char *line; (line = strtok_r(rest, "\n", &rest)); lines++) {
        static const char *const keys[] = {"ids_00", "ids_01", "ids_10", "ids_11"};
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        const char *hex = cJSON_GetObjectItemCaseSensitive(json, "hex")->valuestring;
        char *string = malloc(strlen(hex) / 2 + 1);
        assert_non_null(string);
        size_t n_text = unhex(hex, string);
        for (int k = 0; k < 4; k++) {
            size_t n;
            int *ids = conformance_ids(cJSON_GetObjectItemCaseSensitive(json, keys[k]), &n);
            expect_ids(t, string, n_text, k >> 1, k & 1, ids, n);
            free(ids);
        }
        if (comes_back(string, n_text, spm))
            expect_round_trip(t, string, n_text);
        free(string);
        cJSON_Delete(json);
    }
    free(data);
    tokenizer_close(t);
    gguf_close(file);
    print_message("%s: %zu strings\n", strings, lines);
    assert_true(lines > 100);
}

static void reference_strings(void **state)
{
    (void)state;
    static const char *const names[] = {"smollm", "gpt2", "llama-bpe", "qwen2", "spm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char relative[128], model[4096];
        snprintf(relative, sizeof relative, "conformance/models/tok-%s.gguf", names[i]);
        if (!data_path(relative)) {
            print_message("no KVANT_DATA/%s\n", relative);
            skip();
        }
        snprintf(model, sizeof model, "%s", data_path(relative));
        snprintf(relative, sizeof relative, "conformance/refs/tok-%s.tokens.jsonl", names[i]);
        assert_non_null(data_path(relative));
        check_reference(model, data_path(relative), !strcmp(names[i], "spm"));
    }
}

/* The demo's model, wherever it lies: reference strings, and a whole text there and back. */
static void real_vocabulary(void **state)
{
    (void)state;
    kvant_input input;
    kvant_error err = {""};
    test_input_settings();
    if (input_find("smollm2-135m", &input, &err)) {
        print_message("%s\n", err.text);
        skip();
    }
    const char *strings = data_path("conformance/refs/smollm2-135m.tokens.jsonl");
    if (!strings) {
        print_message("no KVANT_DATA/conformance\n");
        skip();
    }
    check_reference(input.path, strings, false);
    const char *text_path = data_path("wikitext-2-raw/wiki.test.raw");
    if (!text_path)
        return;
    gguf *file;
    tokenizer *t = NULL;
    char *data = NULL;
    size_t bytes = 0;
    if (gguf_open(input.path, &file, &err) || tokenizer_open(file, &t, &err) || file_read(text_path, &data, &bytes, &err))
        fail_msg("%s", err.text);
    expect_round_trip(t, data, bytes);
    free(data);
    tokenizer_close(t);
    gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_strings),
        cmocka_unit_test(real_vocabulary),
    };
    return cmocka_run_group_tests_name("tokenizer_refs", tests, NULL, NULL);
}
