/* test_dequant.c - tensor rows against another program's floats, bit for bit, and single values worked out by hand.
 * By hand means: a block of zeros, a few bytes set, and what the format's definition makes of them. */
#include "harness/lm/dequant.h"
#include "tests/conformance.h"
#include "tests/gguf_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14,
       IQ2_XXS = 16, IQ4_NL = 20, IQ4_XS = 23, BF16 = 30, MXFP4 = 39 };

/* Halves, low byte first. */
#define ONE 0x00, 0x3c
#define TWO 0x00, 0x40
#define HALF 0x00, 0x38

static const struct {
    uint32_t type;
    struct { uint16_t at; uint8_t n, bytes[4]; } set[6];
    uint16_t index;
    float value;
} by_hand[] = {
    {F32, {{0, 4, {0x00, 0x00, 0xc0, 0x3f}}}, 0, 1.5f},
    {F16, {{0, 2, {0x00, 0xc4}}}, 0, -4.0f},
    {F16, {{0, 2, {0x01, 0x00}}}, 0, 0x1p-24f},                         /* the least subnormal */
    {BF16, {{0, 2, {0x40, 0xc0}}}, 0, -3.0f},

    {Q4_0, {{0, 2, {TWO}}}, 5, -16.0f},                                 /* nibble 0 is -8 */
    {Q4_0, {{0, 2, {TWO}}, {2, 1, {0xf3}}}, 0, -10.0f},                 /* low nibble first */
    {Q4_0, {{0, 2, {TWO}}, {2, 1, {0xf3}}}, 16, 14.0f},
    {Q4_1, {{0, 4, {TWO, ONE}}, {4 + 15, 1, {0xf3}}}, 15, 7.0f},
    {Q4_1, {{0, 4, {TWO, ONE}}, {4 + 15, 1, {0xf3}}}, 31, 31.0f},
    {Q5_0, {{0, 2, {ONE}}}, 31, -16.0f},
    {Q5_0, {{0, 2, {ONE}}, {2, 4, {0x01, 0, 0, 0x80}}, {6, 1, {0x05}}}, 0, 5.0f},
    {Q5_0, {{0, 2, {ONE}}, {2, 4, {0x01, 0, 0, 0x80}}, {6 + 15, 1, {0x20}}}, 31, 2.0f},
    {Q5_1, {{0, 4, {HALF, ONE}}, {4, 4, {0, 0, 0x01, 0}}, {8, 1, {0x40}}}, 16, 11.0f},
    {Q5_1, {{0, 4, {HALF, ONE}}, {4, 4, {0, 0, 0x01, 0}}, {8, 1, {0x40}}}, 0, 1.0f},
    {Q8_0, {{0, 2, {HALF}}, {2 + 31, 1, {0x80}}}, 31, -64.0f},

    {IQ4_NL, {{0, 2, {ONE}}}, 3, -127.0f},
    {IQ4_NL, {{0, 2, {ONE}}, {2 + 3, 1, {0xf8}}}, 3, 1.0f},
    {IQ4_NL, {{0, 2, {ONE}}, {2 + 3, 1, {0xf8}}}, 19, 113.0f},
    {IQ4_XS, {{0, 2, {ONE}}}, 0, 32 * 127.0f},                          /* scale 0 is -32 */
    /* group 5: low bits 3 in the upper nibble of byte 2, high bits 2 at bit 10: 35 - 32 */
    {IQ4_XS, {{0, 2, {ONE}}, {2, 2, {0, 0x08}}, {4 + 2, 1, {0x30}}, {8 + 16 * 5 + 1, 1, {0x90}}}, 5 * 32 + 17, 39.0f},
    {MXFP4, {{0, 2, {127, 0x71}}}, 0, 0.5f},                            /* 2^0 * E2M1: code 1 is .5, code 7 is 6 */
    {MXFP4, {{0, 2, {127, 0x71}}}, 16, 6.0f},
    {MXFP4, {{0, 2, {128, 0x0f}}}, 0, -12.0f},
    {MXFP4, {{0, 2, {0, 0x02}}}, 0, 0x1p-127f},
    {MXFP4, {{0, 2, {1, 0x02}}}, 0, 0x1p-126f},
    {MXFP4, {{0, 2, {2, 0x02}}}, 0, 0x1p-125f},
    {MXFP4, {{0, 2, {255, 0x01}}}, 0, 0x1p+127f},

    /* group 13: second half of the block, upper 16 of a run of 32, shift 4 */
    {Q2_K, {{80, 4, {TWO, ONE}}, {13, 1, {0x53}}, {16 + 32 + 16 + 2, 1, {0x30}}}, 13 * 16 + 2, 2 * 3 * 3 - 5.0f},
    {Q2_K, {{80, 4, {TWO, ONE}}, {0, 1, {0x53}}}, 0, -5.0f},
    /* group 6: shift 6, lower 16; scale: low bits in the low nibble of byte 6, high bits in bits 2-3 of byte 10 */
    {Q3_K, {{108, 2, {ONE}}, {96 + 6, 1, {0x05}}, {96 + 10, 1, {0x08}}, {32 + 4, 1, {0x80}}, {4, 1, {0x08}}}, 6 * 16 + 4, 5 * 2.0f},
    {Q3_K, {{108, 2, {ONE}}, {96 + 6, 1, {0x05}}, {96 + 10, 1, {0x08}}, {32 + 4, 1, {0x80}}}, 6 * 16 + 4, 5 * -2.0f},
    {Q3_K, {{108, 2, {ONE}}}, 255, -32 * -4.0f},
    /* groups 1 and 6: scale and minimum in one byte each, or spread over two */
    {Q4_K, {{0, 4, {TWO, ONE}}, {4 + 1, 1, {0x3f}}, {4 + 5, 1, {0x02}}, {16 + 7, 1, {0x90}}}, 32 + 7, 2 * 63 * 9 - 2.0f},
    {Q4_K, {{0, 4, {TWO, ONE}}, {4 + 10, 1, {0x21}}, {4 + 2, 1, {0x80}}, {4 + 6, 1, {0x40}}, {16 + 96, 1, {0x03}}}, 6 * 32,
     2 * (1 + 32) * 3 - (2 + 16.0f)},
    {Q5_K, {{0, 4, {TWO, ONE}}, {4 + 1, 1, {0x3f}}, {4 + 5, 1, {0x02}}, {16 + 7, 1, {0x02}}, {48 + 7, 1, {0x90}}}, 32 + 7,
     2 * 63 * 25 - 2.0f},
    {Q5_K, {{0, 4, {TWO, ONE}}, {4 + 1, 1, {0x3f}}, {4 + 5, 1, {0x02}}, {16 + 7, 1, {0xfd}}, {48 + 7, 1, {0x90}}}, 32 + 7,
     2 * 63 * 9 - 2.0f},
    /* second half, third run of 32 (upper nibbles of the first), high bits 4-5, scale 8 + 4 */
    {Q6_K, {{208, 2, {HALF}}, {192 + 12, 1, {0xfe}}, {64 + 1, 1, {0xa0}}, {128 + 32 + 1, 1, {0x30}}}, 128 + 64 + 1, 0.5f * -2 * 26},
    {Q6_K, {{208, 2, {HALF}}, {192 + 15, 1, {0x04}}}, 255, 0.5f * 4 * -32},
};

static void single_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
        const ggml_type *type = ggml_type_find(by_hand[i].type);
        uint8_t block[256 + 1] = {0};
        float out[256];
        /* One byte off: rows in a file need not be aligned. */
        for (size_t k = 0; k < 6; k++)
            memcpy(block + 1 + by_hand[i].set[k].at, by_hand[i].set[k].bytes, by_hand[i].set[k].n);
        assert_non_null(type);
        assert_true(type->bytes < sizeof block && by_hand[i].index < type->block);
        type->row(block + 1, type->block, out);
        if (!(out[by_hand[i].index] == by_hand[i].value))
            fail_msg("case %zu, %s, value %u: %.9g, expected %.9g", i, type->name, by_hand[i].index, (double)out[by_hand[i].index],
                     (double)by_hand[i].value);
    }
}

/* Every supported type is worked out by hand above, and blocks follow one another without a gap. */
static void all_types(void **state)
{
    (void)state;
    size_t known = 0, supported = 0;
    for (uint32_t t = 0; t < 1000; t++) {
        const ggml_type *type = ggml_type_find(t);
        if (!type)
            continue;
        known++;
        assert_int_equal(type->type, t);
        assert_true(type->block > 0 && type->bytes > 0);
        for (uint32_t other = 0; other < t; other++)
            if (ggml_type_find(other))
                assert_string_not_equal(ggml_type_find(other)->name, type->name);
        if (!type->row)
            continue;
        supported++;
        bool seen = false;
        for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++)
            seen = seen || by_hand[i].type == t;
        assert_true(seen);
        uint8_t blocks[3 * 256];
        float together[3 * 256], apart[256];
        for (size_t i = 0; i < sizeof blocks; i++)
            blocks[i] = (uint8_t)(i * 97 % 53);                         /* no NaN among the halves */
        assert_true(3 * type->bytes <= sizeof blocks);
        type->row(blocks, 3 * type->block, together);
        for (uint32_t b = 0; b < 3; b++) {
            type->row(blocks + b * type->bytes, type->block, apart);
            assert_memory_equal(apart, together + b * type->block, type->block * sizeof *apart);
        }
    }
    assert_int_equal(known, 35);
    assert_int_equal(supported, 16);
    assert_null(ggml_type_find(4));                                     /* Q4_2, withdrawn */
    assert_null(ggml_type_find(UINT32_MAX));
}

static void rows_within_bounds(void **state)
{
    (void)state;
    static const uint8_t data[2 * 66] = {0};
    float values[2 * 3 * 4], out[256];
    for (size_t i = 0; i < 24; i++)
        values[i] = (float)i;
    gguf_writer w = writer_begin();
    writer_tensor(&w, "cube", F32, 3, (uint64_t[]){4, 3, 2}, values, sizeof values);
    writer_tensor(&w, "unreadable", IQ2_XXS, 2, (uint64_t[]){256, 2}, data, sizeof data);
    gguf *f;
    kvant_error err = {""};
    assert_int_equal(gguf_open_buffer(writer_end(&w), &f, &err), KVANT_OK);
    const gguf_tensor *cube = gguf_tensor_find(f, "cube");
    assert_int_equal(dequant_rows(cube, 2, 3, out, &err), KVANT_OK);    /* across the second and third dimension */
    for (size_t i = 0; i < 12; i++)
        assert_true(out[i] == (float)(8 + i));
    assert_int_equal(dequant_rows(cube, 6, 0, out, &err), KVANT_OK);
    static const size_t beyond[][2] = {{6, 1}, {7, 0}, {0, 7}, {SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        assert_int_equal(dequant_rows(cube, beyond[i][0], beyond[i][1], out, &err), KVANT_INVALID);
        assert_non_null(strstr(err.text, "tensor 'cube'"));
    }
    assert_int_equal(dequant_rows(gguf_tensor_find(f, "unreadable"), 0, 1, out, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "tensor 'unreadable': type IQ2_XXS"));
    gguf_close(f);
}

static double number(const cJSON *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* First rows bit for bit, the whole tensor by its sum and sum of squares. */
static void check_tensor(const gguf *f, const cJSON *entry)
{
    kvant_error err = {""};
    const char *name = cJSON_GetObjectItemCaseSensitive(entry, "tensor")->valuestring;
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    size_t rows = (size_t)cJSON_GetArrayItem(shape, 0)->valueint, cols = (size_t)cJSON_GetArrayItem(shape, 1)->valueint;
    const gguf_tensor *t = gguf_tensor_find(f, name);
    assert_non_null(t);
    assert_int_equal(t->ne[0], cols);
    assert_string_equal(ggml_type_find(t->type)->name, cJSON_GetObjectItemCaseSensitive(entry, "type")->valuestring);
    size_t all = (size_t)t->ne[1];
    float *want = conformance_floats(cJSON_GetObjectItemCaseSensitive(entry, "file")->valuestring, rows * cols);
    float *got = malloc(all * cols * sizeof *got);
    assert_non_null(got);
    if (dequant_rows(t, 0, all, got, &err))
        fail_msg("%s", err.text);
    if (memcmp(got, want, rows * cols * sizeof *got))
        fail_msg("tensor '%s' (%s) differs", name, ggml_type_find(t->type)->name);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < all * cols; i++) {
        sum += (double)got[i];
        squares += (double)got[i] * (double)got[i];
    }
    /* Sums of 1e5 doubles of size 1 in another order. */
    if (!(fabs(sum - number(entry, "full_sum")) <= 1e-8) || !(fabs(squares - number(entry, "full_sum_squares")) <= 1e-8))
        fail_msg("tensor '%s': sum %.12g, squares %.12g", name, sum, squares);
    free(want);
    free(got);
}

static void reference_rows(void **state)
{
    (void)state;
    cJSON *index = conformance_index();
    if (!index) {
        print_message("no KVANT_DATA/conformance\n");
        skip();
    }
    size_t n = 0;
    const cJSON *model, *entry;
    cJSON_ArrayForEach(model, cJSON_GetObjectItemCaseSensitive(index, "models"))
    {
        const cJSON *tensors = cJSON_GetObjectItemCaseSensitive(model, "dequant");
        if (!tensors)
            continue;
        char relative[256];
        kvant_error err = {""};
        gguf *f;
        snprintf(relative, sizeof relative, "conformance/%s", cJSON_GetObjectItemCaseSensitive(model, "model")->valuestring);
        if (gguf_open(data_path(relative), &f, &err))
            fail_msg("%s", err.text);
        cJSON_ArrayForEach(entry, tensors)
        {
            check_tensor(f, entry);
            n++;
        }
        gguf_close(f);
    }
    cJSON_Delete(index);
    assert_true(n >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_values),
        cmocka_unit_test(all_types),
        cmocka_unit_test(rows_within_bounds),
        cmocka_unit_test(reference_rows),
    };
    return cmocka_run_group_tests_name("dequant", tests, NULL, NULL);
}
