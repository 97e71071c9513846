/* generate.c - chat formats, prefill in steps, greedy decoding.
 * A chat format is recognised from the file's own template, never guessed from the model's name. */
#include "harness/lm/generate.h"

#include "harness/lm/vecmath.h"
#include "harness/util.h"

#include <stdlib.h>
#include <string.h>

/* A format is known when all its marks occur in the file's tokenizer.chat_template. */
typedef struct { const char *name; const char *marks[3]; const char *before, *between; } chat_format;

static const chat_format formats[] = {
    { "smollm2", { "<|im_start|>", "You are a helpful AI assistant named SmolLM, trained by Hugging Face", NULL },
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n",
      "<|im_end|>\n<|im_start|>assistant\n" },
};

static bool contains(gguf_string in, const char *mark)
{
    return memmem(in.data, in.bytes, mark, strlen(mark)) != NULL;
}

static const chat_format *format_of(const gguf *file)
{
    gguf_string chat;
    if (!gguf_get_string(file, "tokenizer.chat_template", &chat))
        return NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        bool all = true;
        for (size_t j = 0; formats[i].marks[j] && all; j++)
            all = contains(chat, formats[i].marks[j]);
        if (all)
            return &formats[i];
    }
    return NULL;
}

/* Tokens of one piece, appended to *ids. Special tokens count in the format's own text only. */
static kvant_status append_text(const tokenizer *t, const char *piece, bool parse_special, int32_t **ids, size_t *n, kvant_error *err)
{
    int32_t *more = NULL;
    size_t n_more = 0;
    kvant_status status = tokenizer_encode(t, piece, strlen(piece), false, parse_special, &more, &n_more, err);
    if (status != KVANT_OK)
        return status;
    int32_t *grown = realloc(*ids, (*n + n_more + 1) * sizeof *grown);
    if (grown) {
        memcpy(grown + *n, more, n_more * sizeof *more);
        *ids = grown;
        *n += n_more;
    } else {
        status = kvant_fail(err, KVANT_NOMEM, "no memory for a prompt");
    }
    free(more);
    return status;
}

kvant_status lm_chat(const lm_model *model, const char *user, const char *answer, int32_t **ids, size_t *n, kvant_error *err)
{
    const tokenizer *t = lm_tokenizer(model, err);
    if (!t)
        return KVANT_SKIP;
    const chat_format *f = format_of(lm_file(model));
    if (!f)
        return kvant_fail(err, KVANT_SKIP, "%s: its chat format is not known here; known: smollm2", gguf_path(lm_file(model)));
    *ids = NULL;
    *n = 0;
    kvant_status status;
    if ((status = append_text(t, f->before, true, ids, n, err)) || (status = append_text(t, user, false, ids, n, err)) ||
        (status = append_text(t, f->between, true, ids, n, err)) ||
        (answer && (status = append_text(t, answer, false, ids, n, err)))) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}

kvant_status lm_prefill(lm_model *model, kvcache *cache, const int32_t *prompt, size_t n, uint32_t batch, float *logits,
                        kvant_error *err)
{
    if (n == 0 || batch == 0)
        return kvant_fail(err, KVANT_INVALID, "an empty prompt cannot be continued");
    uint8_t *want = calloc(batch, 1);
    if (!want)
        return kvant_fail(err, KVANT_NOMEM, "no memory for a batch of %u tokens", batch);
    kvant_status status = KVANT_OK;
    for (size_t done = 0; done < n && status == KVANT_OK;) {
        const uint32_t m = n - done < batch ? (uint32_t)(n - done) : batch;
        want[m - 1] = done + m == n;
        const lm_segment segment = { .cache = cache, .tokens = prompt + done, .n = m, .want = want };
        status = lm_forward(model, LM_PREFILL, &segment, 1, logits, NULL, err);
        done += m;
    }
    free(want);
    return status;
}

kvant_status lm_greedy(lm_model *model, kvcache *cache, float *logits, size_t n, int32_t *out, size_t *n_out, kvant_error *err)
{
    const tokenizer *t = lm_tokenizer(model, NULL);
    const uint8_t want = 1;
    *n_out = 0;
    while (*n_out < n) {
        const int32_t id = lm_argmax(logits, lm_model_shape(model)->n_vocab);
        if (t && tokenizer_is_end(t, id))
            break;
        out[(*n_out)++] = id;
        if (*n_out == n)
            break;
        const lm_segment segment = { .cache = cache, .tokens = &id, .n = 1, .want = &want };
        const kvant_status status = lm_forward(model, LM_DECODE, &segment, 1, logits, NULL, err);
        if (status != KVANT_OK)
            return status;
    }
    return KVANT_OK;
}

int32_t lm_argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

double lm_log_prob(const float *logits, size_t n, int32_t id) { return (double)logits[id] - vec_log_sum_exp(logits, n); }
