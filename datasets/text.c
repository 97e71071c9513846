/* text.c - a text file, plain or gzipped: what a language model reads.
 * Bytes are passed on exactly as they are, for a stripped newline is another text with another perplexity. */
#include "harness/input/dataset.h"
#include "harness/process.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <zlib.h>

static const size_t bytes_max = (size_t)1 << 30;       /* unpacked; beyond it a file is not a test text but a mistake */

/* Reads a file that is plain or gzipped: zlib tells them apart, and checks length and CRC, which libarchive 3.6 does not. */
static kvant_status read_all(gzFile f, const char *path, kvant_data *data, kvant_error *err)
{
    size_t capacity = 0;
    for (;;) {
        if (data->bytes + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 1 << 20;
            char *larger = realloc(data->text, capacity);
            if (!larger)
                return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its text", path);
            data->text = larger;
        }
        int n = gzread(f, data->text + data->bytes, (unsigned)(capacity - 1 - data->bytes)), code;
        const char *why = gzerror(f, &code);
        if (n < 0 || (n == 0 && code != Z_OK && code != Z_STREAM_END))
            return code == Z_ERRNO ? file_fail(err, path, "cannot read")
                                   : kvant_fail(err, KVANT_INVALID, "%s: cannot unpack: %s", path, why);
        data->bytes += (size_t)n;
        if (data->bytes > bytes_max)
            return kvant_fail(err, KVANT_INVALID, "%s: its text is longer than %zu bytes", path, bytes_max);
        if (interrupted())
            return kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted while reading", path);
        if (n == 0)
            break;
    }
    data->text[data->bytes] = '\0';
    return data->bytes ? KVANT_OK : kvant_fail(err, KVANT_INVALID, "%s: no text in it", path);
}

/* Tokenizers are promised UTF-8. Matching nothing makes PCRE2 check the whole text. */
static kvant_status check_utf8(const char *path, const kvant_data *data, kvant_error *err)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *nothing = pcre2_compile((PCRE2_SPTR)"", 0, PCRE2_UTF, &code, &offset, NULL);
    pcre2_match_data *match = nothing ? pcre2_match_data_create_from_pattern(nothing, NULL) : NULL;
    kvant_status status = KVANT_OK;
    if (!match)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to check it", path);
    else if (pcre2_match(nothing, (PCRE2_SPTR)data->text, data->bytes, 0, 0, match, NULL) < 0)
        status = kvant_fail(err, KVANT_INVALID, "%s: byte %zu: not UTF-8; convert it by iconv", path,
                            (size_t)pcre2_get_startchar(match));
    pcre2_match_data_free(match);
    pcre2_code_free(nothing);
    return status;
}

static kvant_status load(const char *path, const kvant_args *args, kvant_data *data, kvant_error *err)
{
    (void)args;
    *data = (kvant_data){ 0 };
    struct stat file;
    if (stat(path, &file))
        return file_fail(err, path, "cannot open");
    if (!S_ISREG(file.st_mode))
        return kvant_fail(err, KVANT_INVALID, "%s: not a regular file", path);
    gzFile f = gzopen(path, "rbe");
    if (!f)
        return errno ? file_fail(err, path, "cannot open") : kvant_fail(err, KVANT_NOMEM, "%s: no memory to read it", path);
    kvant_status status = read_all(f, path, data, err);
    gzclose_r(f);
    if (!status)
        status = check_utf8(path, data, err);
    if (status) {
        data_free(data);
        return status;
    }
    return data_seal(path, data, err);
}

static const kvant_param params[] = { { .name = NULL } };
static const char *const suffixes[] = { "txt", "text", "raw", "md", "jsonl", "gz", NULL };

const kvant_dataset dataset_text = {
    .name = "text",
    .summary = "a UTF-8 text file, plain or gzipped",
    .kind = "text",
    .params = params,
    .suffixes = suffixes,
    .load = load,
};
