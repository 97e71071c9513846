/* show.c - `kvant show`: what a GGUF file holds: its keys with types and values, its tensors, and bytes by tensor type.
 * Nothing is loaded, and what a file says is printed so that it cannot command a terminal. */
#include "harness/cli.h"
#include "harness/input/input.h"
#include "harness/lm/chat.h"
#include "harness/lm/dequant.h"
#include "harness/lm/pretokenize.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ITEMS = 6, MOST_BYTES = 200, N_TYPES = 64 };

static void print_plain(gguf_string s)
{
    for (size_t i = 0, n; i < s.bytes; i += n) {
        const uint8_t *p = (const uint8_t *)s.data + i;
        n = utf8_length(s.data + i, s.bytes - i);
        bool control = !n || p[0] < 0x20 || p[0] == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
        if (!control)
            printf("%.*s", (int)n, s.data + i);
        else if (p[0] == '\n')
            fputs("\\n", stdout);
        else
            for (size_t k = 0; k < (n ? n : 1); k++)
                printf("\\x%02x", p[k]);
        n = n ? n : 1;
    }
}

static void print_quoted(gguf_string s)
{
    gguf_string head = {s.data, s.bytes < MOST_BYTES ? s.bytes : MOST_BYTES};
    putchar('"');
    print_plain(head);
    printf(s.bytes > head.bytes ? "\"... (%zu bytes)" : "\"", s.bytes);
}

static void print_number(const gguf_kv *kv, uint64_t index)
{
    int64_t i;
    uint64_t u;
    double d;
    if (kv->item == GGUF_U64) {
        memcpy(&u, kv->data + index * sizeof u, sizeof u);
        printf("%" PRIu64, u);
    } else if (gguf_item_f64(kv, index, &d)) {
        printf(kv->item == GGUF_F32 ? "%.9g" : "%.17g", d);
    } else if (gguf_item_i64(kv, index, &i)) {
        if (kv->item == GGUF_BOOL)
            fputs(i ? "true" : "false", stdout);
        else
            printf("%" PRId64, i);
    }
}

static void print_kv(const gguf *file, const gguf_kv *kv, int width)
{
    gguf_string s;
    char type[48];
    if (kv->type == GGUF_ARRAY)
        snprintf(type, sizeof type, "%s[%" PRIu64 "]", gguf_type_name(kv->item), kv->n);
    else
        snprintf(type, sizeof type, "%s", gguf_type_name(kv->type));
    print_plain(kv->key);
    printf("%*s  %-15s  ", kv->key.bytes < (size_t)width ? width - (int)kv->key.bytes : 0, "", type);
    uint64_t shown = kv->n < MOST_ITEMS ? kv->n : MOST_ITEMS;
    for (uint64_t i = 0; i < shown; i++) {
        if (i)
            fputs(", ", stdout);
        if (gguf_string_of(kv, &s))
            print_quoted(s);
        else if (gguf_item_string(file, kv, i, &s))
            print_quoted(s);
        else
            print_number(kv, i);
    }
    puts(shown < kv->n ? ", ..." : "");
}

static uint64_t n_values(const gguf_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }

static void print_tensor(const gguf_tensor *t, int width)
{
    char shape[96] = "scalar";
    size_t at = 0;
    for (uint32_t i = 0; i < t->n_dims; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRIu64, i ? " x " : "", t->ne[i]);
    print_plain(t->name);
    printf("%*s  %-7s  %-20s  %12" PRIu64 "\n", t->name.bytes < (size_t)width ? width - (int)t->name.bytes : 0, "",
           ggml_type_find(t->type)->name, shape, t->bytes);
}

static void print_totals(const gguf *file)
{
    struct { uint64_t tensors, values, bytes; } by_type[N_TYPES] = {0}, all = {0};
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        uint64_t values = n_values(t);
        if (t->type < N_TYPES) {
            by_type[t->type].tensors++;
            by_type[t->type].values += values;
            by_type[t->type].bytes += t->bytes;
        }
        all.tensors++;
        all.values += values;
        all.bytes += t->bytes;
    }
    printf("\n%-7s  %8s  %14s  %14s  %10s  %s\n", "type", "tensors", "values", "bytes", "bits/value", "readable");
    for (uint32_t i = 0; i < N_TYPES; i++)
        if (by_type[i].tensors) {
            const ggml_type *type = ggml_type_find(i);
            printf("%-7s  %8" PRIu64 "  %14" PRIu64 "  %14" PRIu64 "  %10.6g  %s\n", type->name, by_type[i].tensors, by_type[i].values,
                   by_type[i].bytes, 8.0 * type->bytes / type->block, type->row ? "yes" : "no");
        }
    printf("%-7s  %8" PRIu64 "  %14" PRIu64 "  %14" PRIu64 "\n", "all", all.tensors, all.values, all.bytes);
}

/* Columns as wide as the longest name, within reason. */
static int wider(int width, gguf_string s) { return s.bytes > (size_t)width && s.bytes <= 64 ? (int)s.bytes : width; }

static void print_file(const gguf *file)
{
    int keys = 3, names = 6;
    for (size_t i = 0; i < gguf_n_kv(file); i++)
        keys = wider(keys, gguf_kv_at(file, i)->key);
    for (size_t i = 0; i < gguf_n_tensors(file); i++)
        names = wider(names, gguf_tensor_at(file, i)->name);
    printf("%s: GGUF version %u, %" PRIu64 " bytes, %zu keys, %zu tensors\n", gguf_path(file), gguf_version(file),
           gguf_bytes(file), gguf_n_kv(file), gguf_n_tensors(file));
    if (gguf_n_kv(file))
        printf("\n%-*s  %-15s  %s\n", keys, "key", "type", "value");
    for (size_t i = 0; i < gguf_n_kv(file); i++)
        print_kv(file, gguf_kv_at(file, i), keys);
    const char *family = chat_family(file);
    if (family || gguf_find(file, "tokenizer.chat_template"))
        printf("\nchat template: %s\n", family ? family : "of no known family");
    if (!gguf_n_tensors(file))
        return;
    printf("\n%-*s  %-7s  %-20s  %12s\n", names, "tensor", "type", "shape", "bytes");
    for (size_t i = 0; i < gguf_n_tensors(file); i++)
        print_tensor(gguf_tensor_at(file, i), names);
    print_totals(file);
}

static int run(const cli *c)
{
    const char *path = cli_arg(c, 0);
    kvant_error err = {""};
    kvant_input input;
    gguf *file;
    kvant_status status = KVANT_OK;
    /* A path is opened as it is: only a name has to be found, and that hashes the file. */
    if (!strchr(path, '/') && access(path, F_OK)) {
        status = input_find(path, &input, &err);
        path = input.path;
    }
    if (!status)
        status = gguf_open(path, &file, &err);
    if (status)
        return cli_fail(c, status, &err);
    print_file(file);
    gguf_close(file);
    return cli_finish(EXIT_DONE);
}

const cli_command command_show = {
    .name = "show",
    .arguments = "FILE.gguf",
    .min_args = 1,
    .max_args = 1,
    .summary = "show the keys and tensors of a GGUF file",
    .details = "Prints version, keys with types and values (long lists cut short), the family of the chat template, tensors with type "
               "and shape (the first dimension is contiguous), and totals by tensor type. FILE may also be a model's name in the "
               "manifest.",
    .example = "# What is in the demo's model?\nkvant show smollm2-135m",
    .run = run,
};
