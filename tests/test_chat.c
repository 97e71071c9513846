/* test_chat.c - every chat family by a generated vocabulary and the marks of its template: the exact tokens around a message.
 * Texts are told from special tokens: what a user writes never becomes one. */
#include "harness/lm/chat.h"
#include "tests/gguf_writer.h"
#include "tests/scratch.h"

/* A file with a vocabulary of bytes and special tokens, [BOS] the first, and a template. NULL: not in the file. */
typedef struct {
    const char *arch, *pre, *chat;
    const char *special[6];
} chat_file;

enum { BOS = 256 };
#define MARK "\xe2\x96\x81"     /* how SentencePiece spells a space */

static gguf *open_file(const chat_file *f, bool spm, tokenizer **t)
{
    const char *tokens[7] = { "[BOS]" };
    const int32_t types[7] = { 3, 3, 3, 3, 3, 3, 3 };
    gguf *file;
    size_t n = 1;
    while (n < 7 && f->special[n - 1]) {
        tokens[n] = f->special[n - 1];
        n++;
    }
    gguf_writer w = writer_begin();
    writer_string(&w, "general.architecture", f->arch);
    if (f->chat)
        writer_string(&w, "tokenizer.chat_template", f->chat);
    if (spm)
        writer_spm(&w, tokens, types, NULL, n);
    else
        writer_bpe(&w, f->pre ? f->pre : "qwen2", tokens, types, n, NULL, 0);
    writer_u32(&w, "tokenizer.ggml.bos_token_id", BOS);
    assert_ok(gguf_open_buffer(writer_end(&w), &file, err));
    assert_ok(tokenizer_open(file, t, err));
    return file;
}

/* Spells ids: the tokens of bytes as the bytes, special tokens as their text behind a bar. */
static void spell(const tokenizer *t, const int32_t *ids, size_t n, char *out, size_t bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        char *one;
        size_t length;
        assert_ok(tokenizer_decode(t, &ids[i], 1, true, &one, &length, err));
        at += (size_t)(ids[i] < BOS ? snprintf(out + at, bytes - at, "%c", (int)ids[i]) : snprintf(out + at, bytes - at, "|%s", one));
        assert_true(at < bytes);
        free(one);
    }
}

#define CHATML_TOKENS { "<|im_start|>", "<|im_end|>" }
#define CHATML_ANSWER "|<|im_end|>\n|<|im_start|>assistant\n"
#define LLAMA3_TOKENS { "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>" }
#define LLAMA3_USER "|<|start_header_id|>user|<|end_header_id|>\n\n"
#define LLAMA3_ANSWER "|<|eot_id|>|<|start_header_id|>assistant|<|end_header_id|>\n\n"
#define SMOLLM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define DATES "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

/* Parts of real templates that tell them apart, and what the whole templates print before and behind a message, with a bar before
 * every special token; lead: what stands between that and the answer's first word. */
static const struct { chat_file file; const char *family, *user, *answer, *lead; } cases[] = {
    { { "llama", NULL, "{{ '<|im_start|>system\\n" SMOLLM "<|im_end|>\\n' }}", CHATML_TOKENS },
      "chatml", "|<|im_start|>system\n" SMOLLM "|<|im_end|>\n|<|im_start|>user\n", CHATML_ANSWER, "" },
    { { "qwen2", NULL, "{{ '<|im_start|>system\\n" QWEN "<|im_end|>\\n' }}", CHATML_TOKENS },
      "chatml", "|<|im_start|>system\n" QWEN "|<|im_end|>\n|<|im_start|>user\n", CHATML_ANSWER, "" },
    { { "qwen2", NULL, "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}", CHATML_TOKENS },
      "chatml", "|<|im_start|>system\nYou are a helpful assistant.|<|im_end|>\n|<|im_start|>user\n", CHATML_ANSWER, "" },
    { { "qwen2", NULL, "{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}", CHATML_TOKENS },
      "chatml", "|<|im_start|>system\nYou are a helpful assistant|<|im_end|>\n|<|im_start|>user\n", CHATML_ANSWER, "" },
    { { "qwen3", NULL, "{{- '<|im_start|>' + message.role + '\\n' }} <think> {{- '<|im_end|>\\n' }}", CHATML_TOKENS },
      "chatml", "|<|im_start|>user\n", CHATML_ANSWER, "" },
    { { "llama", NULL, "{{ bos_token + '[INST] ' + '<<SYS>>\\n' }}", { NULL } },
      "llama2", "|[BOS][INST] ", " [/INST]", " " },
    { { "llama", "llama-bpe", "{{ bos_token }} <|start_header_id|> Cutting Knowledge Date: December 2023", LLAMA3_TOKENS },
      "llama3", "|[BOS]|<|start_header_id|>system|<|end_header_id|>\n\n" DATES "|<|eot_id|>" LLAMA3_USER, LLAMA3_ANSWER, "" },
    { { "llama", "llama-bpe", "{{ bos_token + '<|start_header_id|>' + '<|end_header_id|>\\n\\n' + '<|eot_id|>' }}", LLAMA3_TOKENS },
      "llama3", "|[BOS]" LLAMA3_USER, LLAMA3_ANSWER, "" },
    { { "llama", NULL, "{{- bos_token }} [AVAILABLE_TOOLS] {{- '[INST] ' + content + '[/INST]' }}", { "[INST]", "[/INST]" } },
      "mistral", "|[BOS]|[INST]", "|[/INST]", "" },
    { { "llama", NULL, "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}", { NULL } },
      "mistral", "|[BOS][INST] ", " [/INST]", " " },
    { { "gemma3", NULL, "{{ bos_token }}{{ '<start_of_turn>' + role }}", { "<start_of_turn>", "<end_of_turn>" } },
      "gemma", "|[BOS]|<start_of_turn>user\n", "|<end_of_turn>\n|<start_of_turn>model\n", "" },
    { { "phi3", NULL, "{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}", { "<|user|>", "<|end|>", "<|assistant|>" } },
      "phi3", "|<|user|>", "|<|end|>|<|assistant|>", "" },
    { { "phi2", NULL, NULL, { NULL } },
      "phi2", "Instruct: ", "\nOutput:", " " },
    { { "granite", NULL, "'<|start_of_role|>' + role", { "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>" } },
      "granite", "|<|start_of_role|>user|<|end_of_role|>", "|<|end_of_text|>\n|<|start_of_role|>assistant|<|end_of_role|>", "" },
    { { "llama", "falcon3", "{{ '<|user|>\\n' + content + '\\n' }} {{ '<|assistant|>\\n' }}", { "<|assistant|>" } },
      "falcon3", "<|user|>\n", "\n|<|assistant|>\n", "" },
    { { "olmo2", "dbrx", "{{ bos_token }}{{ '<|user|>\\n' + content + '\\n' }} {{ '<|assistant|>\\n' }}", { NULL } },
      "olmo2", "|[BOS]<|user|>\n", "\n<|assistant|>\n", "" },
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void families(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        tokenizer *t;
        gguf *file = open_file(&cases[i].file, false, &t);
        const char *family = chat_family(file);
        if (!family || strcmp(family, cases[i].family))
            fail_msg("case %zu is '%s', not '%s'", i, family ? family : "nothing", cases[i].family);
        for (int with = 0; with < 2; with++) {
            int32_t *ids;
            size_t n;
            char got[1024] = "", *wanted;
            assert_ok(chat_encode(file, t, "Hi <|im_end|>[BOS]?", with ? "Yes" : NULL, &ids, &n, err));
            spell(t, ids, n, got, sizeof got);
            wanted = text_format("%sHi <|im_end|>[BOS]?%s%s%s", cases[i].user, cases[i].answer, with ? cases[i].lead : "",
                                 with ? "Yes" : "");
            assert_string_equal(got, wanted);
            free(wanted);
            free(ids);
        }
        tokenizer_close(t);
        gguf_close(file);
    }
}

/* The parts of a SentencePiece prompt are one text: its space prefix stands behind special tokens, not at every seam. */
static void seams(void **state)
{
    (void)state;
    static const struct { chat_file file; const char *prompt; } spm[] = {
        { { "llama", NULL, "bos_token + '[INST] ' + '<<SYS>>\\n'", { NULL } },
          "|[BOS]" MARK "[INST]" MARK "Hi" MARK "[/INST]" MARK "Yes" },
        { { "llama", NULL, "bos_token [INST] [AVAILABLE_TOOLS]", { "[INST]", "[/INST]" } },
          "|[BOS]|[INST]" MARK "Hi|[/INST]" MARK "Yes" },
        { { "phi3", NULL, "<|user|> <|end|>", { "<|user|>", "<|end|>", "<|assistant|>" } },
          "|<|user|>" MARK "Hi|<|end|>|<|assistant|>" MARK "Yes" },
    };
    for (size_t i = 0; i < sizeof spm / sizeof *spm; i++) {
        tokenizer *t;
        gguf *file = open_file(&spm[i].file, true, &t);
        int32_t *ids;
        size_t n;
        char got[256] = "";
        assert_ok(chat_encode(file, t, "Hi", "Yes", &ids, &n, err));
        spell(t, ids, n, got, sizeof got);
        assert_string_equal(got, spm[i].prompt);
        free(ids);
        tokenizer_close(t);
        gguf_close(file);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct { chat_file file; const char *says; } others[] = {
        { { "llama", NULL, "<|im_start|>user<|im_sep|> <|im_end|>", CHATML_TOKENS },
          "no known family; known families: chatml, llama2, llama3, mistral, gemma, phi3, phi2, granite, falcon3, olmo2" },
        { { "llama", NULL, "'<|user|>\\n' + message['content'] + eos_token + '\\n<|assistant|>'", { NULL } }, "no known family" },
        { { "llama", NULL, "[SYSTEM_PROMPT] [INST] [/INST]", { NULL } }, "no known family" },
        { { "llama", NULL, "", { NULL } }, "no known family" },
        { { "phi2", NULL, "USER: ", { NULL } }, "no known family" },
        { { "llama", NULL, NULL, { NULL } }, "it holds no chat template; known families: chatml" },
        { { "qwen2", NULL, "<|im_start|> <|im_end|>", { "<|im_start|>" } }, "family chatml, but <|im_end|> is no special token" },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        tokenizer *t;
        gguf *file = open_file(&others[i].file, false, &t);
        int32_t *ids = NULL;
        size_t n = 0;
        assert_fails(chat_encode(file, t, "Hi", NULL, &ids, &n, err), KVANT_SKIP, others[i].says);
        assert_null(ids);
        tokenizer_close(t);
        gguf_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(families), cmocka_unit_test(seams), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
