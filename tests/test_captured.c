/* test_captured.c - keys before RoPE and after it, captured from a model in steps: rotating the first by a rotation written here gives
 * the second, and looking changes nothing else. */
#include "harness/experiment/captured.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <math.h>

enum { CONTEXT = 50, ROW = TINY_KV_HEADS * TINY_HEAD_DIM };

static lm_model *model;

static captured capture(bool unrotated, uint32_t batch)
{
    int32_t ids[CONTEXT];
    captured c;
    for (int i = 0; i < CONTEXT; i++)
        ids[i] = i * i % TINY_BYTES;
    assert_ok(captured_open(&c, model, CONTEXT, batch, true, NULL, "test", err));
    c.unrotated = unrotated;
    assert_ok(captured_run(&c, ids, err));
    return c;
}

/* Neighbours are pairs; pair j turns by position * 10000^(-2j / width). */
static void turn(const float *x, size_t position, double *out)
{
    for (size_t j = 0; j < TINY_HEAD_DIM / 2; j++) {
        double angle = (double)position * pow(10000, -2.0 * (double)j / TINY_HEAD_DIM);
        out[2 * j] = x[2 * j] * cos(angle) - x[2 * j + 1] * sin(angle);
        out[2 * j + 1] = x[2 * j] * sin(angle) + x[2 * j + 1] * cos(angle);
    }
}

static void rotating_gives_what_the_cache_gets(void **state)
{
    (void)state;
    captured before = capture(true, 17), after = capture(false, 17);
    size_t turned = 0;
    for (size_t layer = 0; layer < TINY_LAYERS; layer++)
        for (size_t t = 0; t < CONTEXT; t++)
            for (size_t head = 0; head < TINY_KV_HEADS; head++) {
                size_t at = (layer * CONTEXT + t) * ROW + head * TINY_HEAD_DIM;
                double want[TINY_HEAD_DIM], norm = 0;
                turn(before.key + at, t, want);
                for (size_t i = 0; i < TINY_HEAD_DIM; i++)
                    norm += want[i] * want[i];
                assert_true(norm > 0);
                for (size_t i = 0; i < TINY_HEAD_DIM; i++)
                    if (!(fabs(after.key[at + i] - want[i]) <= 1e-6 * sqrt(norm)))
                        fail_msg("layer %zu, token %zu: %.9g is not %.9g", layer, t, (double)after.key[at + i], want[i]);
                if (t == 0)
                    assert_memory_equal(before.key + at, after.key + at, TINY_HEAD_DIM * sizeof(float));
                turned += memcmp(before.key + at, after.key + at, TINY_HEAD_DIM * sizeof(float)) != 0;
            }
    assert_int_equal(turned, TINY_LAYERS * TINY_KV_HEADS * (CONTEXT - 1));
    captured_close(&before);
    captured_close(&after);
}

static void looking_changes_nothing(void **state)
{
    (void)state;
    captured before = capture(true, CONTEXT), after = capture(false, CONTEXT);
    size_t floats = (size_t)TINY_LAYERS * CONTEXT * ROW;
    assert_memory_equal(before.value, after.value, floats * sizeof(float));
    assert_memory_equal(before.query, after.query, (size_t)TINY_LAYERS * CONTEXT * TINY_HEADS * TINY_HEAD_DIM * sizeof(float));
    captured_close(&before);
    captured_close(&after);
}

static int open_model(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "tiny.gguf");
    tiny_model_write(path, (tiny_options) { 0 });
    kvant_status status = lm_open(path, 0, &model, NULL);
    free(path);
    scratch_remove(folder);
    return status;
}

static int close_model(void **state)
{
    (void)state;
    lm_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotating_gives_what_the_cache_gets),
        cmocka_unit_test(looking_changes_nothing),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
