/* tiny_model.h - writes a small llama-architecture GGUF file with random or zero weights and a byte-level vocabulary.
 * For tests of what runs on a model: real enough for every path, small enough for milliseconds, and known where it matters. */
#ifndef KVANT_TESTS_TINY_MODEL_H
#define KVANT_TESTS_TINY_MODEL_H

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    TINY_LAYERS = 2, TINY_LAYERS_MAX = 30, TINY_EMBD = 32, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_HEAD_DIM = 16, TINY_FF = 48, TINY_CONTEXT = 4096,
    TINY_BYTES = 256, TINY_PAIR = TINY_BYTES, TINY_START, TINY_END, TINY_BOS, TINY_VOCAB
};

/* uniform: the output matrix is zero, so that every token is as likely as any other, and token 0 is the first of them. bos: the
 * tokenizer puts one before a text. ends: token 0 ends a text. layers: 0 for TINY_LAYERS. says: the layers add nothing, and a byte of
 * this text is followed by the one behind it, so no byte but the last may stand there twice. */
typedef struct { bool uniform, bos, ends; unsigned layers; const char *says; unsigned head_dim; } tiny_options;

enum { TINY_U32 = 4, TINY_F32 = 6, TINY_BOOL = 7, TINY_STRING = 8, TINY_ARRAY = 9, TINY_I32 = 5 };

static inline void tiny_put(FILE *f, const void *data, size_t bytes) { assert_int_equal(fwrite(data, 1, bytes, f), bytes); }
static inline void tiny_u32(FILE *f, uint32_t v) { tiny_put(f, &v, sizeof v); }
static inline void tiny_u64(FILE *f, uint64_t v) { tiny_put(f, &v, sizeof v); }

static inline void tiny_string(FILE *f, const char *s)
{
    tiny_u64(f, strlen(s));
    tiny_put(f, s, strlen(s));
}

static inline void tiny_key(FILE *f, const char *key, uint32_t type)
{
    tiny_string(f, key);
    tiny_u32(f, type);
}

static inline void tiny_key_u32(FILE *f, const char *key, uint32_t v)
{
    tiny_key(f, key, TINY_U32);
    tiny_u32(f, v);
}

static inline void tiny_key_string(FILE *f, const char *key, const char *v)
{
    tiny_key(f, key, TINY_STRING);
    tiny_string(f, v);
}

/* The character that stands for a byte in a "gpt2" vocabulary: printable ones for themselves, the others from U+0100 on. */
static inline void tiny_byte_token(unsigned byte, char out[4])
{
    unsigned point = 0x100;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && printable)
            point = b;
        else if (b < byte && !printable)
            point++;
    }
    size_t n = 0;
    if (point >= 0x80)
        out[n++] = (char)(0xc0 | point >> 6);
    out[n++] = (char)(point >= 0x80 ? 0x80 | (point & 0x3f) : point);
    out[n] = '\0';
}

/* Bytes, the one pair that a merge makes (bytes 0 and 1: in no text), and the special tokens. */
static inline void tiny_vocabulary(FILE *f)
{
    static const char *const others[] = { "\xc4\x80\xc4\x81", "<|im_start|>", "<|im_end|>", "<|bos|>" };
    tiny_key(f, "tokenizer.ggml.tokens", TINY_ARRAY);
    tiny_u32(f, TINY_STRING);
    tiny_u64(f, TINY_VOCAB);
    for (unsigned b = 0; b < TINY_BYTES; b++) {
        char token[4];
        tiny_byte_token(b, token);
        tiny_string(f, token);
    }
    for (int i = 0; i < TINY_VOCAB - TINY_BYTES; i++)
        tiny_string(f, others[i]);
    tiny_key(f, "tokenizer.ggml.token_type", TINY_ARRAY);
    tiny_u32(f, TINY_I32);
    tiny_u64(f, TINY_VOCAB);
    for (uint32_t i = 0; i < TINY_VOCAB; i++)
        tiny_u32(f, i < TINY_START ? 1 : 3);
    tiny_key(f, "tokenizer.ggml.merges", TINY_ARRAY);
    tiny_u32(f, TINY_STRING);
    tiny_u64(f, 1);
    tiny_string(f, "\xc4\x80 \xc4\x81");
}

typedef struct { char name[64]; uint64_t columns, rows; double scale, mean; } tiny_tensor;

/* Rows of the output matrix are embeddings of what they follow. */
static inline void tiny_say(FILE *f, const char *says, float embedding[TINY_VOCAB][TINY_EMBD])
{
    static float output[TINY_VOCAB][TINY_EMBD];
    memset(output, 0, sizeof output);
    for (const char *c = says; c[0] && c[1]; c++)
        memcpy(output[(unsigned char)c[1]], embedding[(unsigned char)c[0]], sizeof *output);
    tiny_put(f, output, sizeof output);
}

static inline size_t tiny_tensors(bool uniform, unsigned layers, unsigned head_dim, tiny_tensor t[4 + 9 * TINY_LAYERS_MAX])
{
    const struct { const char *name; uint64_t columns, rows; } parts[] = {
        { "attn_norm", TINY_EMBD, 1 }, { "ffn_norm", TINY_EMBD, 1 },
        { "attn_q", TINY_EMBD, TINY_HEADS * head_dim }, { "attn_k", TINY_EMBD, TINY_KV_HEADS * head_dim },
        { "attn_v", TINY_EMBD, TINY_KV_HEADS * head_dim }, { "attn_output", TINY_HEADS * head_dim, TINY_EMBD },
        { "ffn_gate", TINY_EMBD, TINY_FF }, { "ffn_up", TINY_EMBD, TINY_FF }, { "ffn_down", TINY_FF, TINY_EMBD },
    };
    size_t n = 0;
    t[n++] = (tiny_tensor){ "token_embd.weight", TINY_EMBD, TINY_VOCAB, 1, 0 };
    t[n++] = (tiny_tensor){ "output_norm.weight", TINY_EMBD, 1, .1, 1 };
    t[n++] = (tiny_tensor){ "output.weight", TINY_EMBD, TINY_VOCAB, uniform ? 0 : .4, 0 };
    for (unsigned layer = 0; layer < layers; layer++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            tiny_tensor *p = &t[n++];
            bool norm = parts[i].rows == 1;
            *p = (tiny_tensor){ "", parts[i].columns, parts[i].rows, norm ? .1 : .2, norm };
            snprintf(p->name, sizeof p->name, "blk.%u.%s.weight", layer, parts[i].name);
        }
    return n;
}

static inline void tiny_model_write(const char *path, tiny_options options)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    tiny_tensor tensors[4 + 9 * TINY_LAYERS_MAX];
    const unsigned layers = options.layers ? options.layers : TINY_LAYERS;
    assert_true(layers <= TINY_LAYERS_MAX);
    const unsigned head_dim = options.head_dim ? options.head_dim : TINY_HEAD_DIM;
    size_t n = tiny_tensors(options.uniform, layers, head_dim, tensors);
    float eps = 1e-5f;
    uint8_t add_bos = options.bos;

    tiny_put(f, "GGUF", 4);
    tiny_u32(f, 3);
    tiny_u64(f, n);
    tiny_u64(f, 20);
    tiny_key_string(f, "general.architecture", "llama");
    tiny_key_u32(f, "llama.block_count", layers);
    tiny_key_u32(f, "llama.embedding_length", TINY_EMBD);
    tiny_key_u32(f, "llama.attention.head_count", TINY_HEADS);
    tiny_key_u32(f, "llama.attention.head_count_kv", TINY_KV_HEADS);
    tiny_key_u32(f, "llama.attention.key_length", head_dim);
    tiny_key_u32(f, "llama.attention.value_length", head_dim);
    tiny_key_u32(f, "llama.rope.dimension_count", head_dim);
    tiny_key_u32(f, "llama.feed_forward_length", TINY_FF);
    tiny_key_u32(f, "llama.context_length", TINY_CONTEXT);
    tiny_key(f, "llama.attention.layer_norm_rms_epsilon", TINY_F32);
    tiny_put(f, &eps, sizeof eps);
    tiny_key_string(f, "tokenizer.ggml.model", "gpt2");
    tiny_key_string(f, "tokenizer.ggml.pre", "smollm");
    tiny_vocabulary(f);
    tiny_key_u32(f, "tokenizer.ggml.bos_token_id", TINY_BOS);
    tiny_key_u32(f, "tokenizer.ggml.eos_token_id", options.ends ? 0 : TINY_END);
    tiny_key(f, "tokenizer.ggml.add_bos_token", TINY_BOOL);
    tiny_put(f, &add_bos, 1);
    tiny_key_string(f, "tokenizer.chat_template",
                    "<|im_start|> You are a helpful AI assistant named SmolLM, trained by Hugging Face");

    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        bool vector = tensors[i].rows == 1;
        tiny_string(f, tensors[i].name);
        tiny_u32(f, vector ? 1 : 2);
        tiny_u64(f, tensors[i].columns);
        if (!vector)
            tiny_u64(f, tensors[i].rows);
        tiny_u32(f, 0);
        tiny_u64(f, offset);
        offset += tensors[i].columns * tensors[i].rows * sizeof(float);     /* all are multiples of the alignment, 32 */
    }
    while (ftell(f) % 32)
        tiny_put(f, "", 1);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    assert_non_null(rng);
    static float embedding[TINY_VOCAB][TINY_EMBD];
    for (size_t i = 0; i < n; i++) {
        const bool silent = options.says && i > 0;
        if (options.says && !strcmp(tensors[i].name, "output.weight"))
            tiny_say(f, options.says, embedding);
        else
            for (uint64_t j = 0; j < tensors[i].columns * tensors[i].rows; j++) {
                float x = (float)(tensors[i].mean + (silent ? 0 : tensors[i].scale * gsl_ran_gaussian_ziggurat(rng, 1)));
                if (i == 0)
                    embedding[j / TINY_EMBD][j % TINY_EMBD] = x;
                tiny_put(f, &x, sizeof x);
            }
    }
    gsl_rng_free(rng);
    assert_int_equal(fclose(f), 0);
}

#endif
