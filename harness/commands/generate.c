/* generate.c - `kvant generate`: greedy text through a packed cache, with its speed and its bytes.
 * The quickest way to see what a quantizer does to a model. */
#include "harness/cli.h"
#include "harness/lm/generate.h"
#include "harness/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512 };

static kvant_status prompt_ids(const lm_model *model, const char *prompt, bool raw, int32_t **ids, size_t *n, kvant_error *err)
{
    if (!raw) {
        const kvant_status status = lm_chat(model, prompt, NULL, ids, n, err);
        if (status == KVANT_SKIP) {
            const size_t length = strlen(err->text);
            snprintf(err->text + length, sizeof err->text - length, "; --raw takes the prompt as it is");
        }
        return status;
    }
    const tokenizer *t = lm_tokenizer(model, err);
    return t ? tokenizer_encode(t, prompt, strlen(prompt), true, true, ids, n, err) : KVANT_SKIP;
}

static void print_bytes(const char *side, uint64_t bytes, uint64_t f16, uint64_t resident, uint32_t length, uint32_t capacity)
{
    fprintf(stderr, "  %-6s %10.1f bytes/token accounted, %10.1f resident, %10.1f as f16: %.2fx\n", side,
            (double)bytes / length, (double)resident / capacity, (double)f16 / length, (double)f16 / (double)bytes);
}

static kvant_status continue_text(lm_model *model, kvcache *cache, const int32_t *ids, size_t n, size_t n_tokens, kvant_error *err)
{
    float *logits = kvant_alloc(lm_model_shape(model)->n_vocab * sizeof *logits);
    int32_t *out = calloc(n_tokens + 1, sizeof *out);
    char *text_out = NULL;
    size_t n_out = 0, bytes = 0;
    kvant_status status = logits && out ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "no memory for the logits");
    const double t0 = seconds_now();
    if (status == KVANT_OK)
        status = lm_prefill(model, cache, ids, n, BATCH, logits, err);
    const double t1 = seconds_now();
    if (status == KVANT_OK)
        status = lm_greedy(model, cache, logits, n_tokens, out, &n_out, err);
    const double t2 = seconds_now();
    if (status == KVANT_OK)
        status = tokenizer_decode(lm_tokenizer(model, NULL), out, n_out, false, &text_out, &bytes, err);
    if (status == KVANT_OK) {
        fwrite(text_out, 1, bytes, stdout);
        putchar('\n');
        const kvcache_codecs *codecs = kvcache_codecs_of(cache);
        const uint32_t length = kvcache_length(cache), capacity = kvcache_capacity(cache);
        const kvcache_bytes b = kvcache_accounted(codecs, length), r = kvcache_resident(cache);
        fprintf(stderr, "prefill %zu tokens, %.1f tok/s; decode %zu tokens, %.1f tok/s%s\n", n, (double)n / (t1 - t0), n_out,
                (double)n_out / (t2 - t1), n_out < n_tokens ? "; the model ended its answer" : "");
        fprintf(stderr, "cache of %u tokens: key %s, value %s\n", length, codecs->policy.key.quantizer->name,
                codecs->policy.value.quantizer->name);
        print_bytes("key", b.key, b.f16_key, r.key, length, capacity);
        print_bytes("value", b.value, b.f16_value, r.value, length, capacity);
        print_bytes("both", b.key + b.value, b.f16_key + b.f16_value, r.key + r.value, length, capacity);
    }
    free(text_out);
    free(out);
    free(logits);
    return status;
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *prompt = cli_get(c, "prompt");
    long long n_tokens;
    kvcache_policy policy;
    if (!prompt)
        return cli_usage(c, "--prompt TEXT is needed");
    if (!cli_get_int(c, "tokens", 1, 1 << 20, 128, &n_tokens) || !option_threads(c) || !option_policy(c, "f16", &policy))
        return EXIT_USAGE;
    model_session s = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    states *kept;
    kvant_status status = option_states(c, &policy, &kept, &err);
    if (status == KVANT_OK)
        status = model_session_open(&s, cli_arg(c, 0), 0, cli_get(c, "weights"), &err);
    if (status == KVANT_OK)
        status = prompt_ids(s.model, prompt, cli_get(c, "raw") != NULL, &ids, &n, &err);
    if (status == KVANT_OK)
        status = model_session_say(&s, 0, ids, n, &err);
    if (status == KVANT_OK)
        status = model_session_cache(&s, &policy, n + (size_t)n_tokens, &err);
    if (status == KVANT_OK)
        status = continue_text(s.model, s.cache, ids, n, (size_t)n_tokens, &err);
    model_session_close(&s);
    states_close(kept);
    free(ids);
    return status == KVANT_OK ? cli_finish(EXIT_DONE) : cli_fail(c, status, &err);
}

static const cli_option options[] = {
    { "prompt", "TEXT", "the user's message, in the model's chat format", false },
    { "raw", NULL, "take the prompt as it is, without a chat format", false },
    { "tokens", "N", "tokens to produce at most (default 128)", false },
    OPTION_POLICY("f16"),
    OPTION_WEIGHTS,
    OPTION_STATES,
    OPTION_THREADS,
    { NULL, NULL, NULL, false },
};

const cli_command command_generate = {
    .name = "generate",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "continue a prompt greedily through a packed cache",
    .details = "The text goes to stdout; tokens per second and the cache's bytes per token, accounted, resident and as f16, go to "
               "stderr.",
    .example = "# an answer through 4-bit keys and 3-bit values\n"
               "kvant generate smollm2-135m --prompt \"Why is the sky blue?\" --key turboquant_mse:bits=4 --value affine:bits=3",
    .options = options,
    .run = run,
};
