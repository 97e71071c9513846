/* fuzz_gguf.c - any bytes as a GGUF file, and any bytes strewn over a good one: refused with a reason, or readable in full.
 * Reads every key and item by every getter, dequantises every row whose type is supported, and runs what opens as a model. */
#include "harness/lm/chat.h"
#include "harness/lm/dequant.h"
#include "harness/lm/model.h"
#include "tests/arch_model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile uint64_t sink;                          /* keeps the reads */

static uint64_t sum_string(gguf_string s)
{
    uint64_t sum = s.bytes;
    for (size_t i = 0; i < s.bytes; i++)
        sum += (uint8_t)s.data[i];
    return sum;
}

static uint64_t read_keys(const gguf *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_n_kv(f); i++) {
        const gguf_kv *kv = gguf_kv_at(f, i);
        sum += sum_string(kv->key);
        for (uint64_t k = 0; k < kv->n; k++) {
            gguf_string s;
            int64_t integer;
            double real;
            if (gguf_item_string(f, kv, k, &s) || gguf_string_of(kv, &s))
                sum += sum_string(s);
            else if (!gguf_item_i64(kv, k, &integer) && !gguf_item_f64(kv, k, &real) && kv->item != GGUF_U64)
                abort();                                /* every type has a getter; u64 may be out of range */
        }
    }
    return sum;
}

static void read_tensors(const gguf *f)
{
    for (size_t i = 0; i < gguf_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        size_t row = (size_t)t->ne[0], rows = (size_t)(t->ne[1] * t->ne[2] * t->ne[3]);
        float *out = malloc(row * sizeof *out);
        kvant_error err;
        for (size_t k = 0; out && k < rows; k++)
            if (dequant_rows(t, k, 1, out, &err))
                break;
        free(out);
    }
}

static void read_file(const uint8_t *data, size_t bytes)
{
    kvant_error err = {""};
    gguf *f;
    uint32_t u;
    float x;
    bool b;
    gguf_string s;
    if (gguf_open_bytes(data, bytes, &f, &err)) {
        if (f || strlen(err.text) < 20)
            abort();
        return;
    }
    sink += read_keys(f);
    read_tensors(f);
    for (const char *const *key = (const char *const[]){"a", "general.alignment", "general.name", NULL}; *key; key++) {
        sink += gguf_get_u32(f, *key, &u) + gguf_get_f32(f, *key, &x) + gguf_get_bool(f, *key, &b);
        sink += gguf_get_string(f, *key, &s) ? sum_string(s) : 0;
        sink += gguf_tensor_find(f, *key) != NULL;
    }
    const char *family = chat_family(f);
    sink += family ? strlen(family) : 0;
    gguf_close(f);
}

static void run(lm_model *model)
{
    static const int32_t ids[] = {1, 2, 3};
    static const uint8_t want[] = {0, 1, 1};
    const kvant_quantizer *f16 = kvant_find("f16", NULL);
    const kvcache_side side = {f16, kvant_defaults(f16->params)};
    const kvcache_policy policy = {.key = side, .value = side};
    const kvcache_shape shape = lm_cache_shape(lm_model_shape(model));
    float *logits = calloc(2 * (size_t)lm_model_shape(model)->n_vocab, sizeof *logits);
    kvcache_codecs codecs;
    kvcache *cache;
    kvant_error err = {""};
    if (logits && !kvcache_codecs_open(&policy, &shape, NULL, &codecs, &err)) {
        if (!kvcache_open(&codecs, 3, &cache, &err)) {
            const lm_segment s = {cache, ids, 3, want};
            if (lm_forward(model, LM_PREFILL, &s, 1, logits, NULL, &err) && !err.text[0])
                abort();
            kvcache_close(cache);
        }
        kvcache_codecs_close(&codecs);
    }
    free(logits);
}

static void open_model(const uint8_t *data, size_t bytes, lm_weights weights)
{
    char path[64];
    lm_model *model;
    kvant_error err = {""};
    int fd = memfd_create("model.gguf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!lm_open_as(path, 0, weights, &model, &err)) {
        run(model);
        lm_close(model);
    } else if (strlen(err.text) < 20) {
        abort();
    }
    close(fd);
}

/* A key of every type and a tensor of every tensor type. */
static byte_buffer good_file(void)
{
    static const uint8_t zeros[8192];
    gguf_writer w = writer_begin();
    char name[16];
    for (uint32_t type = 0; type < GGUF_N_TYPES; type++) {
        snprintf(name, sizeof name, "k%u", type);
        if (type != GGUF_STRING && type != GGUF_ARRAY) {
            writer_value(&w, name, type, zeros, gguf_type_bytes((gguf_type)type));
            name[0] = 'a';
            writer_array(&w, name, type, zeros, 2, 2 * gguf_type_bytes((gguf_type)type));
        }
    }
    writer_string(&w, "general.name", "x");
    writer_strings(&w, "words", (const char *const[]){"a", "", "b"}, 3);
    writer_u32(&w, "general.alignment", 32);
    for (uint32_t type = 0; type < 64; type++) {
        const ggml_type *t = ggml_type_find(type);
        if (!t)
            continue;
        snprintf(name, sizeof name, "t%u", type);
        writer_tensor(&w, name, type, 2, (uint64_t[]){t->block, 2}, zeros, 2 * t->bytes);
    }
    return writer_end(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const models[] = {"qwen3moe", "olmo2", "gemma3", "phi3"};
    enum { N_MODELS = sizeof models / sizeof *models };
    static byte_buffer good[1 + N_MODELS];
    if (!good[0].data) {
        omp_set_num_threads(1);
        good[0] = good_file();
        for (size_t i = 0; i < N_MODELS; i++) {
            arch_model m;
            good[1 + i] = arch_model_make(&m, arch_family_of(models[i]), NULL);
            arch_model_free(&m);
        }
    }
    read_file(data, bytes);
    if (bytes < 1)
        return 0;
    /* The first byte chooses the file that the rest is strewn over, and whether its weights are streamed. */
    const size_t which = data[0] % (1 + N_MODELS);
    uint8_t *file = malloc(good[which].bytes);
    if (!file)
        return 0;
    memcpy(file, good[which].data, good[which].bytes);
    for (size_t i = 1; i + 2 < bytes; i += 3)           /* place and value, three bytes each */
        file[(size_t)(data[i] | data[i + 1] << 8) % good[which].bytes] = data[i + 2];
    read_file(file, good[which].bytes);
    if (which > 0)
        open_model(file, good[which].bytes, data[0] & 0x80 ? LM_WEIGHTS_STREAM : LM_WEIGHTS_F32);
    free(file);
    return 0;
}
