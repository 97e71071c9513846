/* logits.c - `kvant logits`: the logits of a list of tokens through a packed cache, as .npy, to compare engines.
 * Rows are written as they are computed, so a long text needs no memory for them. */
#include "harness/cli.h"
#include "harness/input/npy.h"
#include "harness/lm/generate.h"
#include "harness/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 256 };              /* tokens of a prefill step */

/* Whitespace-separated token ids of a text file. */
static kvant_status read_ids(const char *path, int32_t **ids, size_t *n, kvant_error *err)
{
    char *data;
    size_t bytes, capacity = 0;
    kvant_status status = file_read(path, &data, &bytes, err);
    if (status != KVANT_OK)
        return status;
    *ids = NULL;
    *n = 0;
    for (char *at = data; status == KVANT_OK;) {
        at += strspn(at, " \t\r\n");
        if (!*at)
            break;
        char *end;
        errno = 0;
        const long id = strtol(at, &end, 10);
        if (end == at || errno || id < 0 || id > INT32_MAX || !strchr(" \t\r\n", *end)) {
            status = kvant_fail(err, KVANT_INVALID, "%s: byte %td: expected token ids, separated by spaces", path, at - data);
            break;
        }
        if (*n == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            int32_t *more = realloc(*ids, capacity * sizeof *more);
            if (!more) {
                status = kvant_fail(err, KVANT_NOMEM, "no memory for %zu token ids", capacity);
                break;
            }
            *ids = more;
        }
        (*ids)[(*n)++] = (int32_t)id;
        at = end;
    }
    if (status == KVANT_OK && *n == 0)
        status = kvant_fail(err, KVANT_INVALID, "%s: holds no token ids", path);
    free(data);
    if (status != KVANT_OK) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}

static kvant_status write_logits(lm_model *model, kvcache *cache, lm_path path, const int32_t *ids, size_t n, const char *out,
                                 kvant_error *err)
{
    const size_t n_vocab = lm_model_shape(model)->n_vocab, piece = path == LM_DECODE ? 1 : PIECE;
    const size_t shape[2] = { n, n_vocab };
    float *logits = kvant_alloc(piece * n_vocab * sizeof *logits);
    uint8_t want[PIECE];
    memset(want, 1, sizeof want);
    npy_writer w;
    if (!logits)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu rows of logits", piece);
    kvant_status status = npy_begin(&w, out, 2, shape, err);
    const bool begun = status == KVANT_OK;
    for (size_t done = 0; done < n && status == KVANT_OK;) {
        const uint32_t m = n - done < piece ? (uint32_t)(n - done) : (uint32_t)piece;
        const lm_segment segment = { .cache = cache, .tokens = ids + done, .n = m, .want = want };
        status = lm_forward(model, path, &segment, 1, logits, NULL, err);
        if (status != KVANT_OK) {
            npy_discard(&w);
            break;
        }
        status = npy_rows(&w, logits, m, err);
        done += m;
    }
    if (begun && status == KVANT_OK)
        status = npy_end(&w, err);
    free(logits);
    return status;
}

static int run(const cli *c)
{
    kvant_error err = { "" };
    const char *tokens = cli_get(c, "tokens"), *out = cli_get(c, "out"), *path_name = cli_get(c, "path");
    if (!tokens || !out)
        return cli_usage(c, "--tokens FILE and --out FILE.npy are needed");
    if (path_name && strcmp(path_name, "prefill") && strcmp(path_name, "decode"))
        return cli_usage(c, "--path is prefill or decode, not '%s'", path_name);
    const lm_path path = path_name && !strcmp(path_name, "decode") ? LM_DECODE : LM_PREFILL;
    long long context;
    kvcache_policy policy;
    if (!cli_get_int(c, "context", 1, INT32_MAX, 0, &context) || !option_threads(c) || !option_policy(c, "f32", &policy))
        return EXIT_USAGE;
    model_session s = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    kvant_status status = read_ids(tokens, &ids, &n, &err);
    if (status == KVANT_OK)
        status = model_session_open(&s, cli_arg(c, 0), (uint32_t)context, cli_get(c, "weights"), &err);
    if (status == KVANT_OK)
        status = model_session_say(&s, (uint32_t)context, ids, n, &err);
    if (status == KVANT_OK)
        status = model_session_cache(&s, &policy, n, &err);
    if (status == KVANT_OK)
        status = write_logits(s.model, s.cache, path, ids, n, out, &err);
    if (status == KVANT_OK)
        printf("%s: float32 [%zu][%u]\n", out, n, lm_model_shape(s.model)->n_vocab);
    model_session_close(&s);
    free(ids);
    return status == KVANT_OK ? cli_finish(EXIT_DONE) : cli_fail(c, status, &err);
}

static const cli_option options[] = {
    { "tokens", "FILE", "token ids as text, separated by spaces or lines", false },
    { "out", "FILE.npy", "the result: float32 [n][vocab]", false },
    { "path", "PATH", "prefill (default) or decode, one token at a time", false },
    { "context", "N", "positions that the model is opened for (default: its own context)", false },
    OPTION_POLICY("f32"),
    OPTION_WEIGHTS,
    OPTION_THREADS,
    { NULL, NULL, NULL, false },
};

const cli_command command_logits = {
    .name = "logits",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "write the logits of a list of token ids as .npy",
    .details = "Runs the ids as one sequence through the packed cache and writes the logits of every position. With --key f32 "
               "--value f32, the default, the cache rounds nothing: the figures to compare another engine with.",
    .example = "# token ids of a text, then their logits\n"
               "kvant tokenize smollm2-135m < text.txt > ids.txt && kvant logits smollm2-135m --tokens ids.txt --out logits.npy",
    .options = options,
    .run = run,
};
