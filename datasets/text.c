/* text.c - a text file, plain or gzipped: what a language model reads.
 * Bytes are passed on exactly as they are, for a stripped newline is another text with another perplexity. */
#include "harness/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static const size_t bytes_max = (size_t)1 << 30;       /* unpacked; beyond it a file is not a test text but a mistake */

static bool is_gzip(const char *path)
{
    unsigned char start[2] = { 0 };
    FILE *f = fopen(path, "rbe");
    bool gzip = f && fread(start, 1, 2, f) == 2 && start[0] == 0x1f && start[1] == 0x8b;
    if (f)
        fclose(f);
    return gzip;
}

/* Reads the one stream of an opened archive into a text that grows as needed. */
static kvant_status unpack(struct archive *a, const char *path, kvant_data *data, kvant_error *err)
{
    size_t capacity = 0;
    for (;;) {
        if (data->bytes + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 1 << 20;
            char *larger = realloc(data->text, capacity);
            if (!larger)
                return kvant_fail(err, KVANT_NOMEM, "%s: no memory to unpack it", path);
            data->text = larger;
        }
        la_ssize_t n = archive_read_data(a, data->text + data->bytes, capacity - 1 - data->bytes);
        if (n < 0)
            return kvant_fail(err, KVANT_INVALID, "%s: cannot unpack: %s", path, archive_error_string(a));
        data->bytes += (size_t)n;
        if (data->bytes > bytes_max)
            return kvant_fail(err, KVANT_INVALID, "%s: unpacks to more than %zu bytes", path, bytes_max);
        if (n == 0)
            break;
    }
    data->text[data->bytes] = '\0';
    return KVANT_OK;
}

static kvant_status read_gzip(const char *path, kvant_data *data, kvant_error *err)
{
    struct archive *a = archive_read_new();
    if (!a)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory to unpack it", path);
    struct archive_entry *entry;
    kvant_status status;
    if (archive_read_support_filter_gzip(a) || archive_read_support_format_raw(a) || archive_read_open_filename(a, path, 1 << 16)
        || archive_read_next_header(a, &entry))
        status = kvant_fail(err, KVANT_INVALID, "%s: cannot unpack: %s", path,
                            archive_error_string(a) ? archive_error_string(a) : "nothing in it");
    else
        status = unpack(a, path, data, err);
    archive_read_free(a);
    return status;
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
    if ((uintmax_t)file.st_size > bytes_max)
        return kvant_fail(err, KVANT_INVALID, "%s: larger than %zu bytes", path, bytes_max);
    kvant_status status = is_gzip(path) ? read_gzip(path, data, err) : file_read(path, &data->text, &data->bytes, err);
    if (!status && !data->bytes)
        status = kvant_fail(err, KVANT_INVALID, "%s: no text in it", path);
    if (!status)
        status = check_utf8(path, data, err);
    if (status) {
        data_free(data);
        return status;
    }
    return data_seal(path, data, err);
}

static const kvant_param params[] = { { .name = NULL } };
static const char *const suffixes[] = { "txt", "text", "raw", "md", "gz", NULL };

const kvant_dataset dataset_text = {
    .name = "text",
    .summary = "a UTF-8 text file, plain or gzipped",
    .kind = "text",
    .params = params,
    .suffixes = suffixes,
    .load = load,
};
