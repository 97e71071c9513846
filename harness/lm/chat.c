/* chat.c - the table of chat families: what their templates are known by, and what stands around one message of a user.
 * Templates are programs; rather than run them, this knows what those of each family print for such a conversation. */
#include "harness/lm/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A system turn that a template writes by itself is part of `before`, unless it tells today's date, which no result may depend on. */
typedef struct {
    const char *family;
    const char *key, *value;       /* a key of the file that must have this value; NULL: any file */
    const char *marks[2];          /* occur in the file's template; none: the file has no template */
    const char *absent;            /* does not occur in it; NULL: nothing */
    const char *tokens[2];         /* special tokens that the vocabulary must have */
    const char *before, *between;  /* the user's message, and the head of the answer */
    const char *lead;              /* before an answer's first word, which a model writes itself */
} chat_format;

#define CHATML(system) "<|im_start|>system\n" system "<|im_end|>\n<|im_start|>user\n"
#define CHATML_REST .tokens = { "<|im_start|>", "<|im_end|>" }, .between = "<|im_end|>\n<|im_start|>assistant\n"
#define LLAMA3_TURN(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA3_REST .tokens = { "<|start_header_id|>", "<|eot_id|>" }, .between = "<|eot_id|>" LLAMA3_TURN("assistant")

/* The first row that fits. */
static const chat_format formats[] = {
    { .family = "chatml", .marks = { "<|im_start|>", "You are a helpful AI assistant named SmolLM, trained by Hugging Face" },
      .before = CHATML("You are a helpful AI assistant named SmolLM, trained by Hugging Face"), CHATML_REST },
    { .family = "chatml", .marks = { "<|im_start|>", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." },
      .before = CHATML("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."), CHATML_REST },
    { .family = "chatml", .marks = { "<|im_start|>", "You are a helpful assistant.<|im_end|>" },
      .before = CHATML("You are a helpful assistant."), CHATML_REST },
    { .family = "chatml", .marks = { "<|im_start|>", "You are a helpful assistant<|im_end|>" },
      .before = CHATML("You are a helpful assistant"), CHATML_REST },
    { .family = "chatml", .marks = { "<|im_start|>", "<|im_end|>" }, .absent = "<|im_sep|>",
      .before = "<|im_start|>user\n", CHATML_REST },
    { .family = "llama2", .marks = { "[INST]", "<<SYS>>" }, .before = "[INST] ", .between = " [/INST]", .lead = " " },
    { .family = "llama3", .marks = { "<|start_header_id|>", "Cutting Knowledge Date: December 2023" },
      .before = LLAMA3_TURN("system") "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
                LLAMA3_TURN("user"), LLAMA3_REST },
    { .family = "llama3", .marks = { "<|start_header_id|>", "<|eot_id|>" }, .before = LLAMA3_TURN("user"), LLAMA3_REST },
    /* Behind its tokens a space is the vocabulary's own prefix. */
    { .family = "mistral", .marks = { "[INST]", "[AVAILABLE_TOOLS]" }, .absent = "[SYSTEM_PROMPT]", .tokens = { "[INST]", "[/INST]" },
      .before = "[INST]", .between = "[/INST]" },
    { .family = "mistral", .marks = { "[INST]", "[/INST]" }, .absent = "[SYSTEM_PROMPT]", .before = "[INST] ", .between = " [/INST]",
      .lead = " " },
    { .family = "gemma", .marks = { "<start_of_turn>" }, .tokens = { "<start_of_turn>", "<end_of_turn>" },
      .before = "<start_of_turn>user\n", .between = "<end_of_turn>\n<start_of_turn>model\n" },
    /* These tokens take the white space behind them with them, so that the template's line breaks never become tokens. */
    { .family = "phi3", .key = "general.architecture", .value = "phi3", .marks = { "<|user|>", "<|end|>" },
      .tokens = { "<|user|>", "<|end|>" }, .before = "<|user|>", .between = "<|end|><|assistant|>" },
    { .family = "phi2", .key = "general.architecture", .value = "phi2", .before = "Instruct: ", .between = "\nOutput:", .lead = " " },
    { .family = "granite", .marks = { "<|start_of_role|>" }, .tokens = { "<|start_of_role|>", "<|end_of_role|>" },
      .before = "<|start_of_role|>user<|end_of_role|>", .between = "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>" },
    { .family = "falcon3", .key = "tokenizer.ggml.pre", .value = "falcon3", .marks = { "<|user|>", "<|assistant|>" },
      .before = "<|user|>\n", .between = "\n<|assistant|>\n" },
    { .family = "olmo2", .key = "general.architecture", .value = "olmo2", .marks = { "<|user|>", "<|assistant|>" },
      .before = "<|user|>\n", .between = "\n<|assistant|>\n" },
};

enum { N_FORMATS = sizeof formats / sizeof *formats };

static bool contains(gguf_string in, const char *mark) { return memmem(in.data, in.bytes, mark, strlen(mark)) != NULL; }

static bool is_text(gguf_string s, const char *wanted) { return s.bytes == strlen(wanted) && !memcmp(s.data, wanted, s.bytes); }

static bool fits(const gguf *file, const chat_format *f, const gguf_string *chat)
{
    gguf_string value;
    if (f->key && !(gguf_get_string(file, f->key, &value) && is_text(value, f->value)))
        return false;
    if (!chat || !f->marks[0])
        return !chat && !f->marks[0];
    for (size_t i = 0; i < 2 && f->marks[i]; i++)
        if (!contains(*chat, f->marks[i]))
            return false;
    return !f->absent || !contains(*chat, f->absent);
}

/* NULL: none that is known. *bos: whether the template begins with BOS. */
static const chat_format *format_of(const gguf *file, bool *bos)
{
    gguf_string chat = { 0 };
    const bool there = gguf_get_string(file, "tokenizer.chat_template", &chat);
    *bos = there && contains(chat, "bos_token");
    for (size_t i = 0; i < N_FORMATS; i++)
        if (fits(file, &formats[i], there ? &chat : NULL))
            return &formats[i];
    return NULL;
}

const char *chat_family(const gguf *file)
{
    bool bos;
    const chat_format *f = format_of(file, &bos);
    return f ? f->family : NULL;
}

void chat_families(char *text, size_t bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < N_FORMATS && at < bytes; i++)
        if (i == 0 || strcmp(formats[i].family, formats[i - 1].family))
            at += (size_t)snprintf(text + at, bytes - at, "%s%s", i ? ", " : "", formats[i].family);
}

kvant_status chat_encode(const gguf *file, const tokenizer *t, const char *user, const char *answer, int32_t **ids, size_t *n,
                         kvant_error *err)
{
    bool bos;
    const chat_format *f = format_of(file, &bos);
    if (!f) {
        char known[256];
        chat_families(known, sizeof known);
        return kvant_fail(err, KVANT_SKIP, "%s: %s; known families: %s", gguf_path(file),
                          gguf_find(file, "tokenizer.chat_template") ? "its chat template is of no known family"
                                                                     : "it holds no chat template", known);
    }
    for (size_t i = 0; i < 2 && f->tokens[i]; i++)
        if (tokenizer_id(t, f->tokens[i]) < 0)
            return kvant_fail(err, KVANT_SKIP, "%s: its chat template is of the family %s, but %s is no special token of the file",
                              gguf_path(file), f->family, f->tokens[i]);
    const char *lead = answer && f->lead ? f->lead : "";
    const tokenizer_part parts[] = {
        { f->before, strlen(f->before), true },   { user, strlen(user), false },
        { f->between, strlen(f->between), true }, { lead, strlen(lead), true },
        { answer, answer ? strlen(answer) : 0, false },
    };
    return tokenizer_encode_parts(t, parts, sizeof parts / sizeof *parts, bos, ids, n, err);
}
