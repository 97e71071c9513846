/* test_formats.c - the formats of other programs and of standards: blocks against GGUF's reader and another program's bytes,
 * conversions against their definition, and what becomes of values that a format cannot hold. */
#include "algorithms/shared/minifloat.h"
#include "harness/kvant.h"
#include "harness/lm/dequant.h"
#include "tests/scratch.h"

#include <float.h>
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <math.h>

enum { N = 64, DIM = 128, VALUES = N * DIM };

typedef struct { kvant_codec codec; uint8_t code[VALUES * sizeof(float)]; float x[VALUES], y[VALUES]; void *scratch; } trial;

static trial t;

static void open_trial(const char *name, const char *given)
{
    const kvant_shape shape = { .dim = DIM, .side = KVANT_VECTOR, .seed = 1 };
    const kvant_quantizer *q = kvant_find(name, NULL);
    assert_non_null(q);
    kvant_args args = kvant_defaults(q->params);
    assert_ok(kvant_parse(q->params, given, &args, err));
    memset(&t, 0, sizeof t);
    assert_ok(kvant_open(q, &shape, &args, "scalar", &t.codec, err));
    assert_true(kvant_bytes(&t.codec, N) <= sizeof t.code);
    assert_non_null(t.scratch = kvant_alloc(t.codec.scratch));
}

static void close_trial(void)
{
    kvant_close(&t.codec);
    free(t.scratch);
}

static void code(size_t n)
{
    kvant_encode(&t.codec, t.x, 0, n, t.code, t.scratch);
    kvant_decode(&t.codec, t.code, 0, n, t.y, t.scratch);
}

static void gaussian(double scale)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    for (size_t i = 0; i < VALUES; i++)
        t.x[i] = (float)(scale * gsl_ran_gaussian_ziggurat(rng, 1));
    gsl_rng_free(rng);
}

/* Gaussian, grid points, halfway points between them, and magnitudes from 2^-30 to 2^14, block by block. */
static void mixed(void)
{
    gaussian(1);
    for (size_t i = 0; i < VALUES; i++) {
        int kind = (int)(i / 32 % 4);
        if (kind == 1)
            t.x[i] = (float)(i * 7 % 33) - 16;
        else if (kind == 2)
            t.x[i] = ((float)(i * 11 % 127) - 63) / 4;
        else if (kind == 3)
            t.x[i] = ldexpf(t.x[i], (int)(i / 128 % 45) - 30);
    }
}

/* ---- Blocks of GGUF -------------------------------------------------------------------------------------------------- */

static void check_gguf(const char *name, uint32_t type, bool same_zeros)
{
    static float decoded[VALUES];
    open_trial(name, "");
    mixed();
    code(N);
    const gguf_tensor tensor = { .type = type, .ne = { DIM, N, 1, 1 }, .data = t.code };
    const ggml_type *known = ggml_type_find(type);
    assert_non_null(known);
    assert_int_equal(t.codec.plan.code, DIM / known->block * known->bytes);
    assert_ok(dequant_rows(&tensor, 0, N, decoded, err));
    if (same_zeros)
        assert_memory_equal(decoded, t.y, sizeof decoded);
    for (size_t i = 0; i < VALUES; i++)
        assert_true(decoded[i] == t.y[i]);
    close_trial();
}

static void test_gguf_reads_our_blocks(void **state)
{
    (void)state;
    check_gguf("q4_0", 2, true);
    check_gguf("q5_0", 6, true);
    check_gguf("q8_0", 8, true);
    check_gguf("bf16", 30, true);
    check_gguf("mxfp4", 39, false);            /* GGUF's table has no negative zero */
}

/* FNV-1a of the bytes that the quantizers of the Python package gguf 0.19, which follow llama.cpp's reference, make of 65536
 * numbers: 24 bits of a congruential generator, 12 magnitudes. */
static void test_bytes_of_another_program(void **state)
{
    (void)state;
    static const struct { const char *name; uint64_t hash; } expected[] = {
        { "q4_0", 0x40730c07afa5feb6 }, { "q5_0", 0x239b491aae7b6bcc }, { "q8_0", 0x8d6f9e025919e890 }
    };
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        uint64_t hash = 0xcbf29ce484222325;
        uint32_t random = 1;
        open_trial(expected[k].name, "");
        for (size_t done = 0; done < 65536; done += VALUES) {
            for (size_t i = 0; i < VALUES; i++) {
                random = random * 1664525 + 1013904223;
                t.x[i] = ldexpf((float)((int32_t)(random >> 8) - (1 << 23)), -(16 + (int)((done + i) / 32 % 12)));
            }
            code(N);
            for (size_t i = 0; i < N * t.codec.plan.code; i++)
                hash = (hash ^ t.code[i]) * 0x100000001b3;
        }
        assert_true(hash == expected[k].hash);
        close_trial();
    }
}

/* Blocks whose bytes follow from the definition: multiples of a half step, both signs of the extreme, zeros. */
static void test_blocks_by_hand(void **state)
{
    (void)state;
    open_trial("q4_0", "");
    for (int i = 0; i < 32; i++) {
        t.x[i] = (float)(i - 16);              /* scale 2: every second one is halfway, and goes up */
        t.x[32 + i] = (float)(16 - i);         /* scale -2 */
    }
    t.x[96] = 8, t.x[97] = -8, t.x[98] = 1;    /* the first of equals is the extreme: scale -1, and -8 is clipped to -7 */
    code(1);
    for (int i = 0; i < 16; i++) {
        int low = (i + 1) / 2, high = (i + 17) / 2 < 15 ? (i + 17) / 2 : 15;
        assert_int_equal(t.code[2 + i], low | high << 4);
        assert_int_equal(t.code[18 + 2 + i], low | high << 4);
        assert_int_equal(t.code[36 + 2 + i], 0x88);
    }
    assert_memory_equal(t.code, "\x00\x40", 2);
    assert_memory_equal(t.code + 18, "\x00\xc0", 2);
    assert_memory_equal(t.code + 36, "\x00\x80", 2);           /* 0 / -8 */
    assert_memory_equal(t.code + 54, "\x00\xbc\x80\x8f\x87", 5);
    close_trial();

    open_trial("q5_0", "");
    for (int i = 0; i < 32; i++)
        t.x[i] = (float)(i - 16);              /* scale 1 */
    code(1);
    assert_memory_equal(t.code, "\x00\x3c\x00\x00\xff\xff", 6);
    for (int i = 0; i < 16; i++)
        assert_int_equal(t.code[6 + i], i | i << 4);
    close_trial();

    open_trial("q8_0", "");
    for (int i = 0; i < 32; i++)
        t.x[i] = i ? (float)(i % 2 ? i : -i) - (i % 2 ? .5f : -.5f) : -127;    /* halves go away from zero */
    code(1);
    assert_memory_equal(t.code, "\x00\x3c\x81", 3);
    for (int i = 1; i < 32; i++)
        assert_int_equal((int8_t)t.code[2 + i], i % 2 ? i : -i);
    close_trial();

    static const float values[] = { 7.9f, .25f, .26f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, -5.1f, -.2f };
    static const uint8_t codes[] = { 7, 0, 1, 2, 2, 4, 4, 6, 6, 15, 8 };       /* ties to even */
    open_trial("mxfp4", "");
    memcpy(t.x, values, sizeof values);
    t.x[32] = 4;
    t.x[64] = 0x1.fffffep1f;
    t.x[96] = 0x1p-149f;
    code(1);
    for (size_t i = 0; i < sizeof codes; i++)
        assert_int_equal(t.code[1 + i] & 15, codes[i]);
    assert_int_equal(t.code[0], 127);
    assert_int_equal(t.code[17], 127);
    assert_int_equal(t.code[34], 126);
    assert_int_equal(t.code[51], 0);
    close_trial();

    open_trial("nvfp4", "second_scale=none");
    t.x[0] = 6.3f, t.x[1] = 2.55f;             /* the scale 1.05 becomes 1, and 2.55 of it is 3; of 1.05 it would be 2 */
    code(1);
    assert_true(t.code[0] == 0x38 && (t.code[1] & 15) == 7 && (t.code[2] & 15) == 5 && t.y[1] == 3);
    close_trial();

    open_trial("bf16", "");
    t.x[0] = 1 + 0x1p-8f, t.x[1] = 1 + 0x1.8p-7f, t.x[2] = 1 + 0x1.02p-8f;     /* two halfway cases, to even; just above one */
    code(1);
    assert_true(t.y[0] == 1 && t.y[1] == 1 + 0x1p-6f && t.y[2] == 1 + 0x1p-7f);
    close_trial();
}

static void test_idempotence(void **state)
{
    (void)state;
    static const char *const names[] = { "q4_0", "q5_0", "q8_0", "mxfp4", "nf4", "bf16" };
    static float first[VALUES];
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        open_trial(names[k], "");
        gaussian(1);
        code(N);
        memcpy(first, t.y, sizeof first);
        memcpy(t.x, t.y, sizeof first);
        code(N);
        assert_memory_equal(first, t.y, sizeof first);
        close_trial();
    }
}

/* ---- Conversions ------------------------------------------------------------------------------------------------------- */

/* Codes 0 ... max are non-negative numbers in their order; what lies between two goes to the nearer, halfway to the even code. */
static void check_minifloat(uint8_t from(float), float to(uint8_t), uint8_t sign, uint8_t max)
{
    for (unsigned c = 0; c <= max; c++) {
        float value = to((uint8_t)c);
        assert_int_equal(from(value), c);
        assert_int_equal(from(-value), c | sign);
        assert_true(to((uint8_t)(c | sign)) == -value && signbit(to((uint8_t)(c | sign))));
        if (c == max)
            break;
        float next = to((uint8_t)(c + 1)), middle = (value + next) / 2;
        assert_true(value < next);
        assert_int_equal(from(middle), c % 2 ? c + 1 : c);
        assert_int_equal(from(nextafterf(middle, 0)), c);
        assert_int_equal(from(nextafterf(middle, INFINITY)), c + 1);
    }
    assert_int_equal(from(to(max) * 1.5f), max);
    assert_int_equal(from(-FLT_MAX), max | sign);
    assert_int_equal(from(FLT_TRUE_MIN), 0);
}

static void test_minifloats(void **state)
{
    (void)state;
    check_minifloat(float_to_e2m1, e2m1_to_float, 8, 7);
    check_minifloat(float_to_e4m3, e4m3_to_float, 0x80, 0x7e);
    check_minifloat(float_to_e5m2, e5m2_to_float, 0x80, 0x7b);
    assert_true(e2m1_to_float(7) == 6 && e4m3_to_float(0x7e) == 448 && e5m2_to_float(0x7b) == 57344);
    assert_true(e2m1_to_float(1) == .5f && e4m3_to_float(1) == 0x1p-9f && e5m2_to_float(1) == 0x1p-16f);
    assert_true(isnan(e4m3_to_float(float_to_e4m3(NAN))) && isnan(e4m3_to_float(float_to_e4m3(-INFINITY))));
    assert_true(isnan(e5m2_to_float(float_to_e5m2(NAN))) && e5m2_to_float(float_to_e5m2(-INFINITY)) == -INFINITY);
}

/* QLoRA's construction: quantiles of equal distance in probability from .9677 down to 1/2, eight on one side and seven on the
 * other, over the largest. A group of the values themselves decodes to itself. */
static void test_nf4_values_are_quantiles(void **state)
{
    (void)state;
    const double offset = (2 - 1. / 30 - 1. / 32) / 2, largest = gsl_cdf_ugaussian_Pinv(offset);
    double expected[16] = { 0 };
    for (int i = 0; i < 8; i++)
        expected[15 - i] = gsl_cdf_ugaussian_Pinv(offset + (.5 - offset) * i / 8) / largest;
    for (int i = 0; i < 7; i++)
        expected[i] = -gsl_cdf_ugaussian_Pinv(offset + (.5 - offset) * i / 7) / largest;
    open_trial("nf4", "group_size=64");
    for (int i = 0; i < DIM; i++)
        t.x[i] = (float)expected[i % 16];
    code(1);
    for (int i = 0; i < DIM; i++) {
        assert_true(fabs(t.y[i] - expected[i % 16]) <= 5e-7);
        assert_int_equal(t.code[2 + 34 * (i / 64) + i % 64 / 2] >> 4 * (i % 2) & 15, i % 16);
    }
    close_trial();
}

/* ---- Scales -------------------------------------------------------------------------------------------------------------- */

static void test_nvfp4_scales(void **state)
{
    (void)state;
    float second;
    open_trial("nvfp4", "");
    gaussian(.01);
    t.x[5] = -30;
    code(1);
    memcpy(&second, t.code, sizeof second);
    assert_true(second == 30 / (6 * 448.f));
    assert_int_equal(t.code[4], 0x7e);                         /* the largest scale, and its block's extreme at -6 */
    assert_true(fabsf(t.y[5] + 30) <= 30 * FLT_EPSILON);
    assert_int_equal(t.codec.plan.code, 4 + DIM / 16 * 9);
    close_trial();

    open_trial("nvfp4", "second_scale=trained");
    assert_int_equal(t.codec.plan.code, DIM / 16 * 9);
    assert_int_equal(t.codec.plan.train_min, 1);
    gaussian(.01);
    t.x[5] = -30;
    assert_ok(kvant_train(&t.codec, t.x, N, err));
    t.x[5] = 100;                                              /* beyond what it has seen */
    code(1);
    assert_true(fabsf(t.y[5] - 30) <= 30 * FLT_EPSILON);
    close_trial();

    open_trial("nvfp4", "second_scale=none");
    t.x[0] = 1e6f, t.x[16] = .005f, t.x[32] = .007f, t.x[48] = 6;
    code(1);
    assert_true(t.y[0] == 6 * 448 && t.y[16] == 0 && t.y[32] > 0 && t.y[48] == 6);
    close_trial();
}

static void test_fp8_scales(void **state)
{
    (void)state;
    static const struct { const char *name; float max; } formats[] = { { "fp8_e4m3", 448 }, { "fp8_e5m2", 57344 } };
    for (size_t k = 0; k < 2; k++) {
        open_trial(formats[k].name, "");
        gaussian(1);
        t.x[3] = -7;
        code(1);
        float scale;
        memcpy(&scale, t.code, sizeof scale);
        assert_true(scale == 7 / formats[k].max && fabsf(t.y[3] + 7) <= 7 * FLT_EPSILON);
        assert_int_equal(t.codec.plan.code, DIM + 4);
        close_trial();
        open_trial(formats[k].name, "scale=none");
        t.x[0] = 1e9f, t.x[1] = -1e9f, t.x[2] = 1.25f;
        code(1);
        assert_true(t.y[0] == formats[k].max && t.y[1] == -formats[k].max && t.y[2] == 1.25f);
        assert_int_equal(t.codec.plan.code, DIM);
        close_trial();
    }
}

/* The levels of one vector are odd multiples of half a step, and the step is the table's. */
static void test_uniform_step(void **state)
{
    (void)state;
    static const struct { double step, tolerance; } table[] = { { .995, 1e-3 }, { .587, 1e-3 }, { .336, 1e-3 }, { .188, 5e-4 },
                                                                { .104, 5e-4 }, { .0569, 5e-5 }, { .031, 5e-4 } };
    for (int b = 2; b <= 8; b++) {
        char given[32];
        snprintf(given, sizeof given, "bits=%d,rotation=none", b);
        open_trial("uniform_scalar", given);
        for (int j = 0; j < DIM; j++)
            t.x[j] = j % 2 ? 1e-6f : -1e-6f;
        t.x[0] = sqrtf(DIM);                                   /* sigma is 1, the rest lies next to 0 */
        code(1);
        assert_true(fabs(2 * (double)t.y[1] - table[b - 2].step) <= table[b - 2].tolerance);
        assert_true(t.y[2] == -t.y[1]);
        assert_true(fabs(t.y[0] / t.y[1] - ((1 << b) - 1)) <= 1e-4);
        close_trial();
    }
}

/* ---- Entropy --------------------------------------------------------------------------------------------------------------- */

/* Symbols tell exactly what decode tells, within what shares a scale. */
static void test_symbols(void **state)
{
    (void)state;
    static const struct { const char *name, *given; size_t group; } all[] = {
        { "q4_0", "", 32 }, { "q5_0", "", 32 }, { "q8_0", "", 32 }, { "control_broken", "", 32 }, { "mxfp4", "", 32 },
        { "nf4", "group_size=32", 32 }, { "nf4", "group_size=128", 128 }, { "nvfp4", "", 16 }, { "nvfp4", "second_scale=none", 16 },
        { "fp8_e4m3", "", DIM }, { "fp8_e5m2", "scale=none", DIM }, { "uniform_scalar", "bits=3,rotation=none", DIM },
        { "uniform_scalar", "bits=8,rotation=none", DIM }
    };
    static uint16_t symbols[VALUES];
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        open_trial(all[k].name, all[k].given);
        gaussian(1);
        code(N);
        kvant_symbols(&t.codec, t.code, N, symbols);
        for (size_t i = 0; i < VALUES; i++)
            for (size_t j = i / all[k].group * all[k].group; j < i; j++)
                assert_int_equal(symbols[i] == symbols[j], !memcmp(&t.y[i], &t.y[j], sizeof *t.y));
        close_trial();
    }
}

/* Entropies of the best uniform step on a Gaussian, sum of -p log2 p over its cells; a sphere of 128 dimensions has .01 less. */
static void test_uniform_entropy(void **state)
{
    (void)state;
    static const double entropy[] = { 1.9037, 2.7606, 3.6024, 4.4493 };
    static uint16_t symbols[VALUES];
    for (int b = 2; b <= 5; b++) {
        char given[32];
        double sum = 0;
        size_t count[32] = { 0 };
        snprintf(given, sizeof given, "bits=%d", b);
        open_trial("uniform_scalar", given);
        gaussian(1);
        code(N);
        kvant_symbols(&t.codec, t.code, N, symbols);
        for (size_t i = 0; i < VALUES; i++)
            count[symbols[i]]++;
        for (size_t k = 0; k < 32; k++)
            sum -= count[k] ? (double)count[k] / VALUES * log2((double)count[k] / VALUES) : 0;
        assert_true(fabs(sum - entropy[b - 2]) <= .03);
        close_trial();
    }
}

/* ---- Defined results --------------------------------------------------------------------------------------------------------- */

/* `group` coordinates share what a NaN spoils (0: it spoils none but itself); `largest` is the greatest constant that comes back to
 * `precision`, and `tiny` one that comes back as 0 (0: none does). */
static const struct { const char *name, *given; size_t group; float largest, precision, tiny; } defined[] = {
    { "q4_0", "", 32, 8 * 65504.f, 1e-3f, 0x1p-24f },
    { "q5_0", "", 32, 16 * 65504.f, 1e-3f, 0x1p-23f },
    { "q8_0", "", 32, 127 * 65504.f, 1e-3f, 0x1p-20f },
    { "control_broken", "", 32, 8 * 65504.f, 2.001f, 0x1p-24f },
    { "mxfp4", "", 32, 1.5f * 0x1p126f, 0, 0 },
    { "nf4", "", 64, 65504, 1e-3f, 0x1p-26f },
    { "nvfp4", "", 16, FLT_MAX, 1e-6f, 0x1p-118f },
    { "nvfp4", "second_scale=none", 16, 6 * 448, 0, 0x1p-10f },
    { "bf16", "", 0, 0x1.fep127f, 0, 0 },
    { "fp8_e4m3", "", 0, FLT_MAX, 1e-6f, 0x1p-145f },
    { "fp8_e4m3", "scale=none", 0, 448, 0, 0x1p-10f },
    { "fp8_e5m2", "", 0, FLT_MAX, 1e-6f, 0x1p-140f },
    { "fp8_e5m2", "scale=none", 0, 57344, 0, 0x1p-17f },
    { "uniform_scalar", "bits=8,rotation=none", DIM, 65504, .02f, 0x1p-26f },
};

static void fill(float value)
{
    for (size_t i = 0; i < DIM; i++)
        t.x[i] = value;
}

static void expect_constant(float value, float precision)
{
    fill(value);
    code(1);
    for (size_t i = 0; i < DIM; i++)
        if (!(fabs((double)t.y[i] - value) <= (double)precision * fabs((double)value)))
            fail_msg("%s: %g comes back as %g", t.codec.quantizer->name, (double)value, (double)t.y[i]);
}

static void test_range(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof defined / sizeof *defined; k++) {
        open_trial(defined[k].name, defined[k].given);
        expect_constant(0, 0);
        expect_constant(-0.0f, 0);
        expect_constant(defined[k].largest, defined[k].precision);
        expect_constant(-defined[k].largest, defined[k].precision);
        fill(defined[k].tiny);
        code(1);
        for (size_t i = 0; i < DIM; i++)
            assert_true(t.y[i] == 0);
        fill(FLT_TRUE_MIN);                                    /* denormals: something finite */
        t.x[1] = 65504, t.x[2] = 0x1p-120f, t.x[3] = -FLT_MIN;
        code(1);
        for (size_t i = 0; i < DIM; i++)
            assert_true(isfinite(t.y[i]));
        fill(FLT_MAX);
        t.x[4] = -FLT_MAX;
        code(1);
        for (size_t i = 0; i < DIM; i++)
            assert_true(isfinite(t.y[i]) || !strcmp(defined[k].name, "bf16"));     /* a cast rounds that up to infinity */
        close_trial();
    }
}

static void test_spoilers(void **state)
{
    (void)state;
    static const float spoilers[] = { NAN, INFINITY, -INFINITY };
    static float clean[DIM];
    for (size_t k = 0; k < sizeof defined / sizeof *defined; k++)
        for (size_t s = 0; s < 3; s++) {
            size_t group = defined[k].group, at = 71;
            bool kept = group == 0 && s > 0 && strcmp(defined[k].name, "fp8_e4m3") != 0;       /* infinities of its own */
            open_trial(defined[k].name, defined[k].given);
            gaussian(1);
            t.x[0] = 5;                                        /* the largest, so that no scale depends on what is spoiled */
            t.x[at] = 0;
            code(1);
            memcpy(clean, t.y, sizeof clean);
            t.x[at] = spoilers[s];
            code(1);
            for (size_t i = 0; i < DIM; i++)
                if (i == at && kept)
                    assert_true(t.y[i] == spoilers[s]);
                else if (group ? i / group == at / group : i == at)
                    assert_true(isnan(t.y[i]));
                else
                    assert_true(t.y[i] == clean[i]);
            close_trial();
        }
}

static void test_control_is_negated(void **state)
{
    (void)state;
    static float decoded[VALUES];
    open_trial("q4_0", "rotation=hadamard");
    gaussian(1);
    code(N);
    memcpy(decoded, t.y, sizeof decoded);
    close_trial();
    open_trial("control_broken", "rotation=hadamard");
    gaussian(1);
    code(N);
    for (size_t i = 0; i < VALUES; i++)
        assert_true(t.y[i] == -decoded[i]);
    close_trial();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_reads_our_blocks), cmocka_unit_test(test_bytes_of_another_program),
        cmocka_unit_test(test_blocks_by_hand), cmocka_unit_test(test_idempotence), cmocka_unit_test(test_minifloats),
        cmocka_unit_test(test_nf4_values_are_quantiles), cmocka_unit_test(test_nvfp4_scales), cmocka_unit_test(test_fp8_scales),
        cmocka_unit_test(test_uniform_step), cmocka_unit_test(test_symbols), cmocka_unit_test(test_uniform_entropy),
        cmocka_unit_test(test_range), cmocka_unit_test(test_spoilers), cmocka_unit_test(test_control_is_negated),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
