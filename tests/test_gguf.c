/* test_gguf.c - the GGUF reader on files that are right, cut short, damaged or made to deceive.
 * A refused file must say where and what; one that opens must be readable to its last byte. */
#include "harness/lm/dequant.h"
#include "tests/conformance.h"
#include "tests/gguf_writer.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A little of everything; the last tensor ends with the file. */
static gguf_writer sample(void)
{
    static const char *const words[] = {"one", "", "three"};
    static const int16_t shorts[] = {-1, 2, 32767};
    static const float matrix[2][3] = {{1, 2, 3}, {4, 5, 6}};
    static const uint8_t q8[34] = {0x00, 0x3c, 1, 2, 3};
    gguf_writer w = writer_begin();
    writer_string(&w, "general.architecture", "llama");
    writer_value(&w, "u8", GGUF_U8, &(uint8_t){200}, 1);
    writer_value(&w, "i8", GGUF_I8, &(int8_t){-100}, 1);
    writer_value(&w, "u16", GGUF_U16, &(uint16_t){60000}, 2);
    writer_value(&w, "i16", GGUF_I16, &(int16_t){-30000}, 2);
    writer_u32(&w, "u32", 4000000000u);
    writer_value(&w, "i32", GGUF_I32, &(int32_t){-5}, 4);
    writer_value(&w, "u64", GGUF_U64, &(uint64_t){UINT64_MAX}, 8);
    writer_value(&w, "small u64", GGUF_U64, &(uint64_t){7}, 8);
    writer_value(&w, "i64", GGUF_I64, &(int64_t){INT64_MIN}, 8);
    writer_f32(&w, "f32", 1e-5f);
    writer_value(&w, "f64", GGUF_F64, &(double){0.1}, 8);
    writer_bool(&w, "yes", true);
    writer_bool(&w, "no", false);
    writer_strings(&w, "words", words, 3);
    writer_array(&w, "shorts", GGUF_I16, shorts, 3, sizeof shorts);
    writer_array(&w, "nothing", GGUF_F32, NULL, 0, 0);
    writer_strings(&w, "no words", NULL, 0);
    writer_tensor(&w, "matrix", 0, 2, (uint64_t[]){3, 2}, matrix, sizeof matrix);
    writer_tensor(&w, "q8", 8, 1, (uint64_t[]){32}, q8, sizeof q8);
    return w;
}

/* Reads everything that the interface can reach, so that a sanitizer sees any byte outside the mapping. */
static uint64_t read_everything(const gguf *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        for (size_t k = 0; k < kv->key.bytes; k++)
            sum += (uint8_t)kv->key.data[k];
        for (uint64_t k = 0; k < kv->n; k++) {
            gguf_string s = {0};
            int64_t integer = 0;
            double real = 0;
            if (gguf_item_string(f, kv, k, &s) || gguf_string_of(kv, &s))
                for (size_t b = 0; b < s.bytes; b++)
                    sum += (uint8_t)s.data[b];
            sum += gguf_item_i64(kv, k, &integer) ? (uint64_t)integer : 0;
            sum += gguf_item_f64(kv, k, &real) && isfinite(real) ? 1 : 0;
        }
        assert_string_not_equal(gguf_type_name(kv->item), "unknown");
    }
    for (size_t i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        for (uint64_t b = 0; b < t->bytes; b++)
            sum += t->data[b];
    }
    return sum;
}

static void check_sample(const gguf *f, uint32_t version)
{
    uint32_t u;
    float x;
    bool b;
    gguf_string s;
    int64_t i;
    double d;
    assert_int_equal(gguf_version(f), version);
    assert_int_equal(gguf_n_tensors(f), 2);
    assert_true(gguf_get_u32(f, "u8", &u) && u == 200);
    assert_true(gguf_get_u32(f, "u16", &u) && u == 60000);
    assert_true(gguf_get_u32(f, "u32", &u) && u == 4000000000u);
    assert_true(gguf_get_u32(f, "small u64", &u) && u == 7);
    const char *const refused[] = {"i8", "i16", "i32", "i64", "u64", "f32", "yes", "general.architecture", "shorts", "absent"};
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
        assert_false(gguf_get_u32(f, refused[k], &u));
    assert_true(gguf_get_f32(f, "f32", &x) && x == 1e-5f);
    assert_true(gguf_get_f32(f, "f64", &x) && x == 0.1f);
    assert_false(gguf_get_f32(f, "u32", &x));
    assert_true(gguf_get_bool(f, "yes", &b) && b);
    assert_true(gguf_get_bool(f, "no", &b) && !b);
    assert_false(gguf_get_bool(f, "u8", &b));
    assert_true(gguf_get_string(f, "general.architecture", &s) && s.bytes == 5 && !memcmp(s.data, "llama", 5));
    assert_false(gguf_get_string(f, "words", &s));
    const gguf_kv *words = gguf_find(f, "words"), *shorts = gguf_find(f, "shorts");
    assert_true(gguf_item_string(f, words, 2, &s) && s.bytes == 5 && !memcmp(s.data, "three", 5));
    assert_true(gguf_item_string(f, words, 1, &s) && s.bytes == 0);
    assert_false(gguf_item_string(f, words, 3, &s));
    assert_false(gguf_item_string(f, shorts, 0, &s));
    assert_true(gguf_item_i64(shorts, 0, &i) && i == -1);
    assert_true(gguf_item_i64(shorts, 2, &i) && i == 32767);
    assert_false(gguf_item_i64(shorts, 3, &i));
    assert_false(gguf_item_f64(shorts, 0, &d));
    assert_true(gguf_item_i64(gguf_find(f, "i64"), 0, &i) && i == INT64_MIN);
    assert_false(gguf_item_i64(gguf_find(f, "u64"), 0, &i));
    assert_int_equal(gguf_find(f, "nothing")->n, 0);
    assert_null(gguf_find(f, "absent"));
    const gguf_tensor *t = gguf_tensor_find(f, "matrix");
    float row[3];
    assert_non_null(t);
    assert_true(t->n_dims == 2 && t->ne[0] == 3 && t->ne[1] == 2 && t->ne[2] == 1 && t->ne[3] == 1 && t->bytes == 24);
    assert_int_equal(dequant_rows(t, 1, 1, row, NULL), KVANT_OK);
    assert_true(row[0] == 4 && row[1] == 5 && row[2] == 6);
    assert_null(gguf_tensor_find(f, "matri"));
    assert_null(gguf_kv_at(f, gguf_n_kv(f)));
    assert_null(gguf_tensor_at(f, 2));
}

static void reads_what_was_written(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {32, 1, 64, 4096};
    for (uint32_t version = 2; version <= 3; version++)
        for (size_t a = 0; a < 4; a++) {
            kvant_error err = {""};
            gguf *f;
            gguf_writer w = alignments[a] == 32 ? sample() : writer_begin();
            w.version = version;
            if (alignments[a] != 32) {
                w.alignment = alignments[a];
                writer_tensor(&w, "first", 0, 1, (uint64_t[]){1}, &(float){2}, 4);
                writer_tensor(&w, "second", 0, 0, NULL, &(float){3}, 4);
            }
            if (gguf_open_buffer(writer_end(&w), &f, &err))
                fail_msg("%s", err.text);
            if (alignments[a] == 32) {
                check_sample(f, version);
            } else {
                float x;
                assert_int_equal(dequant_rows(gguf_tensor_find(f, "second"), 0, 1, &x, NULL), KVANT_OK);
                assert_true(x == 3);
                assert_int_equal((uintptr_t)gguf_tensor_find(f, "second")->data % alignments[a], 0);
            }
            read_everything(f);
            gguf_close(f);
        }
}

static void finds_among_thousands(void **state)
{
    (void)state;
    enum { N = 3000 };
    gguf_writer w = writer_begin();
    char name[32];
    for (uint32_t i = 0; i < N; i++) {
        uint32_t k = i * 1009 % N;                                    /* a permutation */
        snprintf(name, sizeof name, "key.%u", k);
        writer_u32(&w, name, k);
        snprintf(name, sizeof name, "tensor.%u", k);
        writer_tensor(&w, name, 0, 1, (uint64_t[]){1}, &(float){(float)k}, 4);
    }
    gguf *f;
    kvant_error err;
    assert_int_equal(gguf_open_buffer(writer_end(&w), &f, &err), KVANT_OK);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t value;
        float x;
        snprintf(name, sizeof name, "key.%u", i);
        assert_true(gguf_get_u32(f, name, &value) && value == i);
        snprintf(name, sizeof name, "tensor.%u", i);
        assert_int_equal(dequant_rows(gguf_tensor_find(f, name), 0, 1, &x, NULL), KVANT_OK);
        assert_true(x == (float)i);
    }
    assert_null(gguf_find(f, "key.3000"));
    gguf_close(f);
}

/* Opening must fail as KVANT_INVALID with a text that holds `part`. */
static void refuse(byte_buffer b, const char *part)
{
    kvant_error err = {""};
    gguf *f;
    kvant_status status = gguf_open_buffer(b, &f, &err);
    if (status != KVANT_INVALID || !strstr(err.text, part))
        fail_msg("expected '%s', got status %d and '%s'", part, (int)status, status ? err.text : "");
    assert_null(f);
    assert_non_null(strstr(err.text, "/proc/self/fd/"));
}

static void refuses_every_cut(void **state)
{
    (void)state;
    gguf_writer w = sample();
    byte_buffer b = writer_end(&w);
    for (size_t n = 0; n < b.bytes; n++) {
        kvant_error err = {""};
        gguf *f;
        assert_int_equal(gguf_open_bytes(b.data, n, &f, &err), KVANT_INVALID);
        assert_null(f);
        assert_non_null(strstr(err.text, "fetch it again"));
    }
    free(b.data);
}

static void survives_every_damaged_byte(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x80, 0xff, 0x7f};
    gguf_writer w = sample();
    byte_buffer b = writer_end(&w);
    size_t opened = 0, refused = 0;
    for (size_t i = 0; i < b.bytes; i++)
        for (size_t k = 0; k < sizeof masks; k++) {
            kvant_error err = {""};
            gguf *f;
            b.data[i] ^= masks[k];
            kvant_status status = gguf_open_bytes(b.data, b.bytes, &f, &err);
            b.data[i] ^= masks[k];
            if (!status) {
                read_everything(f);
                gguf_close(f);
                opened++;
            } else {
                assert_int_equal(status, KVANT_INVALID);
                assert_true(strlen(err.text) > 20);
                refused++;
            }
        }
    free(b.data);
    assert_true(opened > 100 && refused > 100);
}

/* A file with one 64-bit number replaced. */
static byte_buffer with_u64(size_t at, uint64_t value)
{
    gguf_writer w = sample();
    byte_buffer b = writer_end(&w);
    memcpy(b.data + at, &value, sizeof value);
    return b;
}

static size_t place_of(const char *text)
{
    gguf_writer w = sample();
    byte_buffer b = writer_end(&w);
    uint8_t *p = memmem(b.data, b.bytes, text, strlen(text));
    assert_non_null(p);
    size_t at = (size_t)(p - b.data);
    free(b.data);
    return at;
}

static void refuses_deceptive_counts(void **state)
{
    (void)state;
    static const uint64_t hostile[] = {1u << 20, UINT32_MAX, (uint64_t)1 << 60, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX,
                                       UINT64_MAX / 24 + 1, UINT64_MAX / 13 + 1, UINT64_MAX / 8 + 1, UINT64_MAX / 2 + 2};
    size_t words = place_of("words") + 5, shorts = place_of("shorts") + 6, key = place_of("u32") - 8, value = place_of("llama") - 8;
    size_t name = place_of("matrix") - 8, ne = place_of("matrix") + 6 + 4, offset = ne + 16 + 4;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        refuse(with_u64(8, hostile[i]), "tensors cannot lie in");
        refuse(with_u64(16, hostile[i]), "keys cannot lie in");
        refuse(with_u64(key, hostile[i]), "a key needs");
        refuse(with_u64(value, hostile[i]), "a string needs");
        refuse(with_u64(words + 8, hostile[i]), "strings cannot lie in");
        refuse(with_u64(words + 16, hostile[i]), "a string of an array needs");
        refuse(with_u64(shorts + 8, hostile[i]), "array items cannot lie in");
        refuse(with_u64(name, hostile[i]), "a tensor's name needs");
        refuse(with_u64(ne, hostile[i] | 1u << 20), "tensor 'matrix'");
        refuse(with_u64(offset, hostile[i] & ~(uint64_t)31), "tensor 'matrix'");
    }
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    const float x[512] = {0};
    gguf_writer w = sample();
    writer_u32(&w, "u32", 1);
    refuse(writer_end(&w), "key 'u32' is there twice");
    w = sample();
    writer_tensor(&w, "matrix", 0, 1, (uint64_t[]){1}, x, 4);
    refuse(writer_end(&w), "tensor 'matrix' is there twice");
    w = sample();
    writer_array(&w, "nested", GGUF_ARRAY, "\0\0\0\0\0\0\0\0\0\0\0\0", 1, 12);
    refuse(writer_end(&w), "key 'nested' is an array of arrays");
    w = sample();
    writer_array(&w, "odd", 13, x, 1, 4);
    refuse(writer_end(&w), "key 'odd' is an array of an unknown type");
    w = sample();
    writer_value(&w, "odd", 99, x, 4);
    refuse(writer_end(&w), "key 'odd' has the unknown value type 99");
    w = sample();
    writer_value(&w, "\033[31mred", 99, x, 4);
    refuse(writer_end(&w), "key '?[31mred'");
    static const uint32_t alignments[] = {0, 3, 33, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        w = sample();
        writer_u32(&w, "general.alignment", alignments[i]);
        refuse(writer_end(&w), "no power of two");
    }
    w = sample();
    writer_string(&w, "general.alignment", "32");
    refuse(writer_end(&w), "'general.alignment' is no integer");
    w = sample();
    writer_tensor(&w, "deep", 0, 5, (uint64_t[]){1, 1, 1, 1, 1}, x, 4);
    refuse(writer_end(&w), "tensor 'deep' has 5 dimensions");
    w = sample();
    writer_tensor(&w, "wide", 0, 4, (uint64_t[]){1u << 31, 1u << 31, 2, 2}, x, 4);
    refuse(writer_end(&w), "tensor 'wide': its dimensions overflow");
    w = sample();
    writer_tensor(&w, "wide", 0, 2, (uint64_t[]){(uint64_t)1 << 62, 1}, x, 4);
    refuse(writer_end(&w), "tensor 'wide': its size overflows");
    w = sample();
    writer_tensor(&w, "empty", 0, 2, (uint64_t[]){4, 0}, x, 4);
    refuse(writer_end(&w), "tensor 'empty': dimension 1 is 0");
    w = sample();
    writer_tensor(&w, "new", 12345, 1, (uint64_t[]){4}, x, 4);
    refuse(writer_end(&w), "tensor 'new': unknown type 12345");
    w = sample();
    writer_tensor(&w, "odd", 8, 1, (uint64_t[]){48}, x, 51);
    refuse(writer_end(&w), "rows of 48 are no multiple of Q8_0's block of 32");
    w = sample();
    writer_tensor(&w, "long", 0, 1, (uint64_t[]){1u << 20}, x, sizeof x);
    refuse(writer_end(&w), "tensor 'long': 4194304 bytes at offset");
    refuse(with_u64(place_of("matrix") + 6 + 4 + 16 + 4, 8), "offset 8 is no multiple of the alignment 32");
    static const struct { uint32_t version; const char *text; } versions[] = {
        {0, "version 0 is not supported"}, {1, "version 1 is not supported"}, {4, "version 4 is not"}, {3u << 24, "big-endian"}};
    for (size_t i = 0; i < 4; i++) {
        w = sample();
        w.version = versions[i].version;
        refuse(writer_end(&w), versions[i].text);
    }
    byte_buffer text = {0};
    buffer_add(&text, "# A text that is no GGUF file at all, and long enough", 50);
    refuse(text, "this is no GGUF file");
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    char folder[] = P_tmpdir "/kvant-test-XXXXXX", path[64];
    kvant_error err = {""};
    gguf *f;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(gguf_open(folder, &f, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "not a regular file"));
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gguf_open(path, &f, &err), KVANT_INVALID);      /* and does not wait for a writer */
    unlink(path);
    assert_int_equal(gguf_open(path, &f, &err), KVANT_IO);
    assert_non_null(strstr(err.text, path));
    assert_null(f);
    rmdir(folder);
    gguf_close(NULL);
}

static void opens_the_reference_models(void **state)
{
    (void)state;
    cJSON *index = conformance_index();
    if (!index) {
        print_message("no KVANT_DATA/conformance\n");
        skip();
    }
    const cJSON *model;
    size_t n = 0;
    cJSON_ArrayForEach(model, cJSON_GetObjectItemCaseSensitive(index, "models"))
    {
        char relative[256];
        kvant_error err = {""};
        gguf *f;
        gguf_string arch;
        snprintf(relative, sizeof relative, "conformance/%s", cJSON_GetObjectItemCaseSensitive(model, "model")->valuestring);
        if (gguf_open(data_path(relative), &f, &err))
            fail_msg("%s", err.text);
        assert_int_equal(gguf_bytes(f), cJSON_GetObjectItemCaseSensitive(model, "bytes")->valueint);
        const char *expected = cJSON_GetObjectItemCaseSensitive(model, "arch")->valuestring;
        assert_true(gguf_get_string(f, "general.architecture", &arch));
        assert_true(arch.bytes == strlen(expected) && !memcmp(arch.data, expected, arch.bytes));
        assert_true(read_everything(f) > 0);
        gguf_close(f);
        n++;
    }
    cJSON_Delete(index);
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),      cmocka_unit_test(finds_among_thousands),
        cmocka_unit_test(refuses_every_cut),           cmocka_unit_test(survives_every_damaged_byte),
        cmocka_unit_test(refuses_deceptive_counts),    cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(refuses_what_is_no_file),     cmocka_unit_test(opens_the_reference_models),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
