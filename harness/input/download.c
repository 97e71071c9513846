/* download.c - gets a URL by libcurl into a file that outlives a broken line: the next call goes on where the last one ended.
 * Whether the pieces fit together is not asked of the server but of the hash. */
#include "harness/input/fetch.h"
#include "harness/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

typedef struct {
    FILE *file;
    uint64_t have, all;            /* bytes in the file, and bytes that it shall have */
    bool too_long;
    int code;                      /* errno of a failed write */
    fetch_talk *t;
} transfer;

static size_t on_data(char *data, size_t size, size_t n, void *user)
{
    transfer *x = user;
    size_t bytes = size * n;
    if (bytes > x->all - x->have) {
        x->too_long = true;
        return 0;
    }
    if (fwrite(data, 1, bytes, x->file) != bytes) {
        x->code = errno;
        return 0;
    }
    x->have += bytes;
    return bytes;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    (void)total, (void)now, (void)up_total, (void)up_now;
    transfer *x = user;
    talk_progress(x->t, "downloading", x->have, x->all);
    return interrupted();
}

static CURL *new_curl(const char *url, transfer *x, char *why)
{
    CURL *c = curl_easy_init();
    if (!c)
        return NULL;
    bool ok = curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075500
    ok = ok && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https,file") == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "https") == CURLE_OK;
#else
    ok = ok && curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | CURLPROTO_FILE)) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTPS) == CURLE_OK;
#endif
    ok = ok && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L) == CURLE_OK
         /* A line that says nothing for a minute is dead. */
         && curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_USERAGENT, "kvant/" KVANT_VERSION) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK && curl_easy_setopt(c, CURLOPT_WRITEDATA, x) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_XFERINFODATA, x) == CURLE_OK && curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK
         && curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)x->have) == CURLE_OK;
    if (!ok) {
        curl_easy_cleanup(c);
        c = NULL;
    }
    return c;
}

/* Appends to the file whatever is missing. `refused` is set when what is there cannot be continued: begin anew. */
static kvant_status append(const char *url, const char *part, uint64_t bytes, fetch_talk *t, bool *refused, kvant_error *err)
{
    char why[CURL_ERROR_SIZE] = "";
    struct stat there;
    transfer x = { .file = fopen(part, "abe"), .all = bytes, .t = t };
    if (!x.file)
        return file_fail(err, part, "cannot write");
    if (fstat(fileno(x.file), &there) || (uint64_t)there.st_size >= bytes) {
        fclose(x.file);
        return KVANT_OK;
    }
    x.have = (uint64_t)there.st_size;
    bool resumed = x.have > 0;
    if (resumed)
        talk_progress(t, "going on at", x.have, bytes);
    CURL *c = new_curl(url, &x, why);
    if (!c) {
        fclose(x.file);
        return kvant_fail(err, KVANT_NOMEM, "%s: cannot prepare libcurl", url);
    }
    CURLcode code = curl_easy_perform(c);
    long response = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &response);
    curl_easy_cleanup(c);
    errno = 0;
    if (fclose(x.file) && !x.code)
        x.code = errno;

    /* 416: the range that was asked for is not there. */
    *refused = resumed && (x.too_long || code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME
                           || (code == CURLE_HTTP_RETURNED_ERROR && response == 416));
    if (x.code) {
        errno = x.code;
        return file_fail(err, part, "cannot write");
    }
    if (interrupted())
        return kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted; the next fetch goes on from there", t->name);
    if (x.too_long)
        return kvant_fail(err, KVANT_INVALID, "%s: more than the %llu bytes of the manifest", url, (unsigned long long)bytes);
    if (code)
        return kvant_fail(err, KVANT_IO, "%s: %s%s", url, *why ? why : curl_easy_strerror(code),
                          x.have ? "; the next fetch goes on from there" : "");
    if (x.have != bytes)
        return kvant_fail(err, KVANT_INVALID, "%s: %llu bytes, and the manifest says %llu", url, (unsigned long long)x.have,
                          (unsigned long long)bytes);
    return KVANT_OK;
}

static kvant_status attempt(const char *url, const char *part, uint64_t bytes, const char *sha256_wanted, fetch_talk *t, bool *again,
                            kvant_error *err)
{
    struct stat there;
    bool resumed = stat(part, &there) == 0 && there.st_size > 0;
    *again = false;
    kvant_status status = append(url, part, bytes, t, again, err);
    if (status)
        return status;
    char hex[SHA256_HEX];
    status = sha256_file(part, hex, err);
    if (status || !strcmp(hex, sha256_wanted))
        return status;
    *again = resumed;
    return kvant_fail(err, KVANT_INVALID, "%s: its sha256 is %s; the manifest says %s", url, hex, sha256_wanted);
}

kvant_status download(const char *url, const char *part, uint64_t bytes, const char *sha256_wanted, fetch_talk *t, kvant_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return kvant_fail(err, KVANT_NOMEM, "%s: cannot prepare libcurl", url);
    talk(t, "%s", url);
    bool again;
    kvant_error why;
    kvant_status status = attempt(url, part, bytes, sha256_wanted, t, &again, &why);
    if (status && status != KVANT_INTERRUPTED && again) {
        talk(t, "what is left of an earlier fetch does not fit; beginning anew");
        unlink(part);
        status = attempt(url, part, bytes, sha256_wanted, t, &again, &why);
    }
    /* Only a transfer that broke off is worth going on with. */
    if (status == KVANT_INVALID)
        unlink(part);
    if (status)
        kvant_fail(err, status, "%s", why.text);
    curl_global_cleanup();
    return status;
}
