/* test_codec.c - the harness's side of the contract: parameters from text, plans that are refused, units of blocks and tiles,
 * fall-backs by decode, and the choice of ops. */
#include "harness/kernels.h"
#include "tests/scratch.h"

#include <gsl/gsl_errno.h>
#include <math.h>

/* ---- Parameters --------------------------------------------------------------------------------------------------- */

static const kvant_param params[] = {
    { "bits", "", KVANT_INT, 4, 1, 8, NULL }, { "group_size", "", KVANT_INT, 64, 8, 9007199254740992., NULL },
    { "beta", "", KVANT_REAL, 3.5, -1e3, 1e3, NULL },
    { "rotation", "", KVANT_CHOICE, 1, 0, 0, (const char *const[]) { "none", "haar", "hadamard", NULL } },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static void test_parse(void **state)
{
    (void)state;
    kvant_args args = kvant_defaults(params);
    assert_true(args.v[0] == 4 && args.v[1] == 64 && args.v[2] == 3.5 && args.v[3] == 1);
    assert_ok(kvant_parse(params, "", &args, err));
    assert_ok(kvant_parse(params, "rotation=hadamard,bits=2,beta=-1e-3,group_size=9007199254740992", &args, err));
    assert_true(args.v[0] == 2 && args.v[1] == 9007199254740992. && args.v[2] == -1e-3 && args.v[3] == 2);
    static const struct { const char *given, *part; } wrong[] = {
        { "bit=2", "nearest known one is 'bits'" }, { "groupsize=8", "'group_size'" },
        { "qqqqqqqqq=1", "use one of bits, group_size" },
        { "bits=0", "out of range; use 1 to 8" }, { "bits=9", "out of range" }, { "bits=2.5", "not an integer" },
        { "bits=two", "not a number" }, { "bits=0x4", "not a number" }, { "bits= 4", "not a number" }, { "beta=nan", "not a number" },
        { "beta=1e999", "not a number" }, { "beta=", "NAME=VALUE" }, { "bits", "NAME=VALUE" }, { "=4", "NAME=VALUE" },
        { ",bits=4", "NAME=VALUE" }, { "bits=4,,beta=1", "NAME=VALUE" }, { "bits=4,", "ends with a comma" },
        { "bits=4,bits=4", "twice" }, { "rotation=har", "'haar'" }, { "rotation=", "NAME=VALUE" },
        { "group_size=9007199254740993", "not an integer" }, { "group_size=1e300", "not an integer" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kvant_args before = args;
        assert_fails(kvant_parse(params, wrong[i].given, &args, err), KVANT_INVALID, wrong[i].part);
        assert_memory_equal(&args, &before, sizeof args);      /* all or nothing */
    }
    char longest[2000];
    memset(longest, 'b', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_fails(kvant_parse(params, longest, &args, err), KVANT_INVALID, "NAME=VALUE");
    assert_fails(kvant_parse(NULL, "bits=4", &args, err), KVANT_INVALID, "there are none");
    assert_int_equal(kvant_set(params, "bit", "2", &args, NULL), KVANT_INVALID);
}

static void test_format(void **state)
{
    (void)state;
    static const double reals[] = { .1, 1. / 3, 1e-300, 3.5, -2, 0 };
    char digits[64];
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        kvant_format(&params[2], reals[i], digits, sizeof digits);
        assert_true(strtod(digits, NULL) == reals[i]);
    }
    kvant_format(&params[2], .1, digits, sizeof digits);
    assert_string_equal(digits, "0.1");
    kvant_format(&params[1], 9007199254740992., digits, sizeof digits);
    assert_string_equal(digits, "9007199254740992");
    kvant_format(&params[3], 2, digits, sizeof digits);
    assert_string_equal(digits, "hadamard");
    kvant_format(&params[3], 7, digits, sizeof digits);
    assert_string_equal(digits, "?");
    kvant_format(&params[3], NAN, digits, sizeof digits);
    assert_string_equal(digits, "?");
}

static const kvant_param with_list[] = {
    { "bits", "", KVANT_INT, 4, 1, 8, NULL }, { "channels", "", KVANT_LIST, 0, 0, 4095, NULL },
    { NULL, NULL, KVANT_INT, 0, 0, 0, NULL }
};

static void test_lists(void **state)
{
    (void)state;
    char digits[KVANT_VALUE_TEXT], longest[KVANT_VALUE_TEXT] = "0";
    kvant_args args = kvant_defaults(with_list), same = args;
    kvant_format_arg(with_list, 1, &args, digits, sizeof digits);
    assert_string_equal(digits, "none");
    assert_ok(kvant_parse(with_list, "channels=64+3+4095+17,bits=2", &args, err));
    assert_true(args.v[0] == 2 && args.v[1] == 4 && args.list[0] == 3 && args.list[1] == 17 && args.list[3] == 4095 && !args.list[4]);
    kvant_format_arg(with_list, 1, &args, digits, sizeof digits);
    assert_string_equal(digits, "3+17+64+4095");
    kvant_format_arg(with_list, 0, &args, digits, sizeof digits);
    assert_string_equal(digits, "2");
    assert_false(kvant_same_arg(with_list, 1, &args, &same));
    assert_ok(kvant_parse(with_list, "bits=2,channels=3+17+64+4095", &same, err));
    assert_memory_equal(&args, &same, sizeof args);            /* one form, whatever the order */
    assert_ok(kvant_set(with_list, "channels", "3+17+64+4094", &same, err));
    assert_false(kvant_same_arg(with_list, 1, &args, &same));
    assert_true(kvant_same_arg(with_list, 0, &args, &same));
    assert_ok(kvant_set(with_list, "channels", "5", &same, err));
    assert_true(same.v[1] == 1 && same.list[0] == 5 && !same.list[1]);
    assert_ok(kvant_set(with_list, "channels", "none", &same, err));
    assert_true(same.v[1] == 0 && !same.list[0]);
    for (int i = 1; i < KVANT_MAX_LIST; i++)
        snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "+%d", 4095 - i);
    assert_ok(kvant_set(with_list, "channels", longest, &args, err));
    kvant_format_arg(with_list, 1, &args, digits, sizeof digits);
    assert_int_equal(strlen(digits), strlen(longest));
    strcat(longest, "+7");
    const struct { const char *given, *part; } wrong[] = {
        { "channels=3+17+3", "3 is given twice" }, { "channels=3+", "is no list" }, { "channels=+3", "is no list" },
        { "channels=3++4", "is no list" }, { "channels=4096", "out of range; use 0 to 4095" }, { "channels=-1", "out of range" },
        { "channels=1.5", "not an integer" }, { "channels=all", "not a number" }, { "channels=", "NAME=VALUE" },
        { "channels=3 4", "not a number" }, { "channels=00000000000000000000000000000000003", "is no list" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kvant_args before = args;
        assert_fails(kvant_parse(with_list, wrong[i].given, &args, err), KVANT_INVALID, wrong[i].part);
        assert_memory_equal(&args, &before, sizeof args);
    }
    assert_fails(kvant_set(with_list, "channels", longest, &args, err), KVANT_INVALID, "1 to 64 integers");
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = { "affine", "f16", "f32", "turboquant_mse", "turboquant_prod", NULL };
    static const struct { const char *given, *nearest; } cases[] = {
        { "afine", "affine" }, { "affien", "affine" }, { "turbo", "turboquant_mse" }, { "turboquant-prod", "turboquant_prod" },
        { "f61", "f16" }, { "kivi_per_channel", NULL }, { "qjll", NULL }, { "", NULL }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = nearest_name(cases[i].given, names);
        assert_true(cases[i].nearest ? got && !strcmp(got, cases[i].nearest) : !got);
    }
    kvant_error err = { "" };
    assert_null(kvant_find("turboquant_msee", &err));
    assert_non_null(strstr(err.text, "'turboquant_mse'"));
    assert_null(kvant_find("qqqqqqqqqqqqqqq", &err));
    assert_non_null(strstr(err.text, "kvant list"));
}

/* ---- A quantizer of f32 in any unit -------------------------------------------------------------------------------- */

static kvant_plan wanted;          /* what plan() gives; code and acc are filled in */

typedef struct { uint32_t d; uint32_t unit; } layout;

static kvant_status plan(const kvant_shape *shape, const kvant_args *args, kvant_plan *p, kvant_error *err)
{
    (void)args, (void)err;
    size_t block = wanted.block ? wanted.block : 1;
    *p = wanted;
    if (!p->code)
        p->code = block * shape->dim * sizeof(float);
    return KVANT_OK;
}

static kvant_status init(const kvant_shape *shape, const kvant_args *args, void *state, kvant_error *err)
{
    layout *s = state;
    (void)args;
    size_t block = wanted.block ? wanted.block : 1, tile = wanted.tile ? wanted.tile : 1;
    if (shape->seed == 13)
        return kvant_fail(err, KVANT_FAILED, "unlucky seed");
    *s = (layout) { shape->dim, (uint32_t)(block > tile ? block : tile) };
    return KVANT_OK;
}

/* Coordinate j of lane l of a unit is its float j * unit + l: vectors are interleaved, so every wrong offset shows. */
static size_t place(const layout *s, size_t first, size_t i, size_t j)
{
    size_t at = first + i, unit = at / s->unit - first / s->unit;
    return unit * s->unit * s->d + j * s->unit + at % s->unit;
}

static void encode(const void *state, const float *x, size_t first, size_t n, uint8_t *code, void *scratch)
{
    const layout *s = state;
    (void)scratch;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < s->d; j++)
            memcpy(code + 4 * place(s, first, i, j), &x[i * s->d + j], 4);
}

static void decode(const void *state, const uint8_t *code, size_t first, size_t n, float *x, void *scratch)
{
    const layout *s = state;
    (void)scratch;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < s->d; j++)
            memcpy(&x[i * s->d + j], code + 4 * place(s, first, i, j), 4);
}

static kvant_status train(void *state, const float *x, size_t n, kvant_error *err)
{
    (void)state, (void)x, (void)n, (void)err;
    return KVANT_OK;
}

static kvant_quantizer made(void)
{
    return (kvant_quantizer) { .name = "made", .summary = "", .source = "", .params = params, .plan = plan, .init = init,
                               .ops = { .encode = encode, .decode = decode } };
}

static void check_units(size_t block, size_t tile)
{
    enum { D = 12, N = 96, QUERIES = 2 };
    static float x[N * D], y[N * D], dot[QUERIES * N], acc[QUERIES * D], out[QUERIES * D];
    kvant_quantizer q = made();
    kvant_shape shape = { .dim = D, .side = KVANT_VECTOR };
    kvant_codec c;
    wanted = (kvant_plan) { .state = sizeof(layout), .block = block, .tile = tile, .scratch = 100, .bits_asked = 32 };
    assert_ok(kvant_open(&q, &shape, NULL, NULL, &c, err));
    size_t b = block ? block : 1, t = tile ? tile : 1, unit = b > t ? b : t;
    assert_int_equal(c.unit, unit);
    assert_int_equal(c.unit_bytes, unit * D * 4);
    assert_int_equal(kvant_bytes(&c, 0), 0);
    assert_int_equal(kvant_bytes(&c, 1), unit * D * 4);
    assert_int_equal(kvant_bytes(&c, unit + 1), 2 * unit * D * 4);
    assert_int_equal(kvant_bytes(&c, SIZE_MAX), SIZE_MAX);
    assert_true(kvant_bits(&c) == 32);
    assert_true(c.scratch >= 100 && c.query == D * 4 && c.acc == D);

    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)(i * 7 % 101) - 50;
    uint8_t *code = kvant_alloc(kvant_bytes(&c, N));
    void *scratch = kvant_alloc(c.scratch), *prepared = kvant_alloc(QUERIES * c.query);
    assert_true(code && scratch && prepared);
    for (size_t i = 0; i < N; i += b)
        kvant_encode(&c, x + i * D, i, b, code, scratch);
    for (size_t first = 0; first < N; first += 7)
        for (size_t n = 0; n <= N - first; n += 5) {
            kvant_decode(&c, code, first, n, y, scratch);
            assert_memory_equal(y, x + first * D, n * D * sizeof *y);
            memset(acc, 0, sizeof acc);
            kvant_query(&c, x, QUERIES, prepared, scratch);
            kvant_score(&c, prepared, QUERIES, code, first, n, dot, scratch);
            kvant_mix(&c, dot, QUERIES, code, first, n, acc, scratch);
            kvant_finish(&c, acc, QUERIES, out, scratch);
            for (size_t i = 0; i < QUERIES; i++) {
                double mixed[D] = { 0 };
                for (size_t v = 0; v < n; v++) {
                    double right = 0;
                    for (size_t j = 0; j < D; j++)
                        right += (double)x[i * D + j] * x[(first + v) * D + j];
                    assert_true(dot[i * n + v] == right);      /* small integers: exact */
                    for (size_t j = 0; j < D; j++)
                        mixed[j] += right * x[(first + v) * D + j];
                }
                for (size_t j = 0; j < D; j++)
                    assert_true(fabs(out[i * D + j] - mixed[j]) <= 1e-5 * (fabs(mixed[j]) + 1e6));
            }
        }
    free(code), free(scratch), free(prepared);
    kvant_close(&c);
    assert_null(c.state);
}

static void test_units(void **state)
{
    (void)state;
    check_units(0, 0);
    check_units(1, 8);
    check_units(4, 0);
    check_units(4, 4);
    check_units(4, 16);
    check_units(32, 8);
}

static kvant_status open_made(kvant_quantizer q, uint32_t dim, const char *isa, kvant_error *err)
{
    kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR };
    kvant_codec c;
    kvant_status status = kvant_open(&q, &shape, NULL, isa, &c, err);
    kvant_close(&c);                                           /* a failed open leaves a closed codec */
    return status;
}

static void test_plans_are_refused(void **state)
{
    (void)state;
    static const struct { kvant_plan plan; const char *part; } wrong[] = {
        { { .state = 8, .block = 3, .tile = 8, .bits_asked = 1 }, "multiple" },
        { { .state = 8, .block = 1 << 20, .bits_asked = 1 }, "block" },
        { { .state = 8, .tile = SIZE_MAX, .bits_asked = 1 }, "tile" }, { { .state = SIZE_MAX, .bits_asked = 1 }, "sizes" },
        { { .state = 8, .scratch = SIZE_MAX / 2, .bits_asked = 1 }, "sizes" },
        { { .state = 8, .acc = SIZE_MAX, .bits_asked = 1 }, "sizes" },
        { { .state = 8, .query = SIZE_MAX, .bits_asked = 1 }, "sizes" },
        { { .state = 8, .code = SIZE_MAX, .bits_asked = 1 }, "sizes" },
        { { .state = 8 }, "bits_asked" }, { { .state = 8, .bits_asked = NAN }, "bits_asked" }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        wanted = wrong[i].plan;
        assert_fails(open_made(made(), 16, NULL, err), KVANT_FAILED, wrong[i].part);
    }
    wanted = (kvant_plan) { .state = sizeof(layout), .bits_asked = 32 };
    assert_ok(open_made(made(), 8, NULL, err));
    assert_fails(open_made(made(), 7, NULL, err), KVANT_INVALID, "dim 7");
    assert_fails(open_made(made(), 4097, NULL, err), KVANT_INVALID, "dim 4097");
    kvant_quantizer half = made();
    half.ops.decode = NULL;
    assert_fails(open_made(half, 16, NULL, err), KVANT_FAILED, "ops");
    half = made();
    half.ops.score = kvant_quantizers()[0]->ops.score;         /* without query */
    assert_fails(open_made(half, 16, NULL, err), KVANT_FAILED, "query with score");
    half = made();
    half.ops.finish = kvant_quantizers()[0]->ops.finish;       /* without mix */
    assert_fails(open_made(half, 16, NULL, err), KVANT_FAILED, "mix with finish");
}

static void test_opening(void **state)
{
    (void)state;
    wanted = (kvant_plan) { .state = sizeof(layout), .bits_asked = 32, .train_min = 0 };
    kvant_quantizer q = made();
    kvant_shape shape = { .dim = 16, .seed = 13 };
    kvant_args args = kvant_defaults(params);
    kvant_codec c;
    float x[64] = { 0 };
    assert_fails(kvant_open(&q, &shape, &args, NULL, &c, err), KVANT_FAILED, "unlucky");
    assert_null(c.state);
    shape.seed = 1;
    static const struct { int index; double value; } outside[] = { { 0, 0 }, { 0, 9 }, { 0, 2.5 }, { 0, NAN }, { 2, 1e4 }, { 2, NAN },
                                                                  { 3, 3 }, { 3, -1 }, { 3, .5 } };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        kvant_args wrong = args;
        wrong.v[outside[i].index] = outside[i].value;
        assert_fails(kvant_open(&q, &shape, &wrong, NULL, &c, err), KVANT_INVALID, params[outside[i].index].name);
    }
    assert_ok(kvant_describe(&q, &shape, &args, NULL, &c, err));
    assert_null(c.state);
    assert_ok(kvant_open(&q, &shape, &args, "scalar", &c, err));
    assert_true((uintptr_t)c.state % 64 == 0);
    assert_fails(kvant_train(&c, x, 4, err), KVANT_INVALID, "data-oblivious");
    kvant_close(&c);
    kvant_close(&c);
    q.train = train;
    wanted.train_min = 4;
    assert_ok(kvant_open(&q, &shape, &args, "scalar", &c, err));
    assert_fails(kvant_train(&c, x, 3, err), KVANT_INVALID, "needs 4");
    assert_ok(kvant_train(&c, x, 4, err));
    kvant_close(&c);
}

/* Arguments that no text gave: what kvant_set would not have left is refused. */
static void test_hostile_lists(void **state)
{
    (void)state;
    static const struct { double count; uint16_t list[4]; } wrong[] = {
        { 65, { 0, 1 } }, { -1, { 0 } }, { 1.5, { 1 } }, { NAN, { 1 } }, { 2, { 3, 3 } }, { 2, { 4, 3 } }, { 1, { 4096 } },
        { 1, { 1, 2 } }
    };
    wanted = (kvant_plan) { .state = sizeof(layout), .bits_asked = 32 };
    kvant_quantizer q = made();
    q.params = with_list;
    kvant_shape shape = { .dim = 16, .seed = 1 };
    kvant_args args = kvant_defaults(with_list);
    kvant_codec c;
    assert_ok(kvant_set(with_list, "channels", "0+4095", &args, err));
    assert_ok(kvant_open(&q, &shape, &args, NULL, &c, err));
    kvant_close(&c);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        args = kvant_defaults(with_list);
        args.v[1] = wrong[i].count;
        memcpy(args.list, wrong[i].list, sizeof wrong[i].list);
        assert_fails(kvant_open(&q, &shape, &args, NULL, &c, err), KVANT_INVALID, "channels");
    }
}

/* By the registered kernels: the best by default, scalar on demand, nothing in silence. */
static void test_targets(void **state)
{
    (void)state;
    kvant_shape shape = { .dim = 64 };
    kvant_codec c;
    wanted = (kvant_plan) { .state = sizeof(layout), .bits_asked = 32 };
    assert_fails(open_made(made(), 16, "avx2", err), KVANT_INVALID, "has no kernel");
    assert_fails(open_made(made(), 16, "sse9", err), KVANT_INVALID, "'sse9'");
    for (const kvant_kernel *const *k = kvant_kernels(); *k; k++) {
        const kvant_quantizer *q = kvant_find((*k)->quantizer, NULL);
        assert_non_null(q);
        kvant_args args = kvant_defaults(q->params);
        assert_ok(kvant_open(q, &shape, &args, "scalar", &c, err));
        assert_string_equal(c.target, "scalar");
        assert_true(c.ops.encode == q->ops.encode && c.ops.decode == q->ops.decode);
        kvant_close(&c);
        if (kvant_describe(q, &shape, &args, (*k)->target, &c, NULL)) {
            assert_fails(kvant_open(q, &shape, &args, (*k)->target, &c, err), KVANT_INVALID, "does not run");
            continue;
        }
        assert_ok(kvant_open(q, &shape, &args, (*k)->target, &c, err));
        assert_string_equal(c.target, (*k)->target);
        assert_true(c.kernel && c.kernel->form == (*k)->form && !c.derived == !c.derived_bytes);
        assert_true(c.ops.encode && c.ops.decode && !c.ops.query == !c.ops.score && !c.ops.mix == !c.ops.finish);
        kvant_close(&c);
        assert_ok(kvant_open(q, &shape, &args, "auto", &c, err));
        assert_string_not_equal(c.target, "scalar");
        kvant_close(&c);
    }
}

static void test_alloc(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 63, 64, 65, 100000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *p = kvant_alloc(sizes[i]);
        assert_non_null(p);
        assert_true((uintptr_t)p % 64 == 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(p[k], 0);
        free(p);
    }
    assert_null(kvant_alloc(SIZE_MAX));
    assert_null(kvant_alloc(SIZE_MAX - 62));
    assert_true(strlen(kvant_version()) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_format), cmocka_unit_test(test_lists), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_units), cmocka_unit_test(test_plans_are_refused), cmocka_unit_test(test_opening),
        cmocka_unit_test(test_hostile_lists), cmocka_unit_test(test_targets), cmocka_unit_test(test_alloc),
    };
    gsl_set_error_handler_off();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
