/* util.c - files that are there whole or not at all, hashes, time, memory, texts and interrupts.
 * Here because every part needs them and none should have its own idea of them. */
#include "harness/util.h"

#include "harness/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

/* ---- Hashes -------------------------------------------------------------------------------- */

struct sha256 { EVP_MD_CTX *context; bool failed; };

sha256 *sha256_begin(void)
{
    sha256 *hash = calloc(1, sizeof *hash);
    if (!hash)
        return NULL;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(hash->context);
        free(hash);
        return NULL;
    }
    return hash;
}

void sha256_add(sha256 *hash, const void *data, size_t bytes)
{
    if (bytes && EVP_DigestUpdate(hash->context, data, bytes) != 1)
        hash->failed = true;
}

static void to_hex(const unsigned char *digest, unsigned length, char hex[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < length; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * length] = '\0';
}

void sha256_end(sha256 *hash, char hex[SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    bool ok = EVP_DigestFinal_ex(hash->context, digest, &length) == 1 && !hash->failed && length == 32;
    to_hex(digest, ok ? length : 0, hex);
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void sha256_of(const void *data, size_t bytes, char hex[SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    bool ok = EVP_Digest(bytes ? data : "", bytes, digest, &length, EVP_sha256(), NULL) == 1 && length == 32;
    to_hex(digest, ok ? length : 0, hex);
}

/* ---- Files --------------------------------------------------------------------------------- */

kvant_status file_fail(kvant_error *err, const char *path, const char *what)
{
    int code = errno;
    return kvant_fail(err, KVANT_IO, "%s: %s: %s%s", path, what, strerror(code),
                      code == ENOSPC || code == EDQUOT ? "; free some space, or choose another folder" : "");
}

/* Opens a regular file for reading. O_NONBLOCK keeps a named pipe from hanging the open; it means nothing to a file. */
static kvant_status open_regular(const char *path, int *fd, struct stat *status, kvant_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return file_fail(err, path, "cannot open");
    if (fstat(*fd, status) == 0 && S_ISREG(status->st_mode))
        return KVANT_OK;
    close(*fd);
    return kvant_fail(err, KVANT_IO, "%s: not a regular file", path);
}

/* Reads until `bytes` are there or the file ends; -1 on an error. */
static ssize_t read_full(int fd, char *data, size_t bytes)
{
    size_t have = 0;
    while (have < bytes) {
        ssize_t n = read(fd, data + have, bytes - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

kvant_status sha256_file(const char *path, char hex[SHA256_HEX], kvant_error *err)
{
    enum { PIECE = 1 << 18 };
    struct stat file;
    int fd;
    kvant_status status = open_regular(path, &fd, &file, err);
    if (status)
        return status;
    char *piece = malloc(PIECE);
    sha256 *hash = sha256_begin();
    hex[0] = '\0';
    if (!piece || !hash)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory to hash it", path);
    while (!status) {
        ssize_t n = read_full(fd, piece, PIECE);
        if (n < 0)
            status = file_fail(err, path, "cannot read");
        else if (interrupted())
            status = kvant_fail(err, KVANT_INTERRUPTED, "%s: interrupted while hashing", path);
        else if (n > 0)
            sha256_add(hash, piece, (size_t)n);
        if (n < PIECE)
            break;
    }
    if (hash)
        sha256_end(hash, hex);
    if (!status && !hex[0])
        status = kvant_fail(err, KVANT_NOMEM, "%s: the hash library failed", path);
    free(piece);
    close(fd);
    return status;
}

kvant_status file_read(const char *path, char **data, size_t *bytes, kvant_error *err)
{
    struct stat file;
    int fd;
    kvant_status status = open_regular(path, &fd, &file, err);
    if (status)
        return status;
    size_t size = (size_t)file.st_size;
    char *whole = file.st_size < 0 || size >= SIZE_MAX / 2 ? NULL : malloc(size + 1);
    if (!whole)
        status = kvant_fail(err, KVANT_NOMEM, "%s: no memory for its %lld bytes", path, (long long)file.st_size);
    ssize_t n = whole ? read_full(fd, whole, size) : 0;
    if (!status && n < 0)
        status = file_fail(err, path, "cannot read");
    else if (!status && (size_t)n != size)
        status = kvant_fail(err, KVANT_IO, "%s: became shorter while it was read", path);
    close(fd);
    if (status) {
        free(whole);
        return status;
    }
    whole[size] = '\0';
    *data = whole;
    *bytes = size;
    return KVANT_OK;
}

void file_new_discard(file_new *f)
{
    if (f->stream)
        fclose(f->stream);
    if (f->temp)
        unlink(f->temp);
    free(f->temp);
    free(f->path);
    *f = (file_new){ 0 };
}

kvant_status file_new_open(file_new *f, const char *path, kvant_error *err)
{
    static atomic_uint count;
    struct stat there;
    *f = (file_new){ 0 };
    /* Renaming over a device would destroy it (as root, /dev/null for everybody). */
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return kvant_fail(err, KVANT_IO, "%s: exists and is not a regular file; name another", path);
    f->path = strdup(path);
    int fd = -1;
    /* Not mkstemp: the file shall get the permissions that the user's umask gives. A name left by a killed process of the
     * same id is passed over. */
    do {
        free(f->temp);
        f->temp = f->path ? text_format("%s.%ld-%u.new", path, (long)getpid(), atomic_fetch_add(&count, 1u)) : NULL;
        if (f->temp)
            fd = open(f->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (f->temp && fd < 0 && errno == EEXIST);
    if (f->temp && fd >= 0 && (f->stream = fdopen(fd, "wb")))
        return KVANT_OK;
    kvant_status status = f->temp ? file_fail(err, path, "cannot create a file beside it")
                                  : kvant_fail(err, KVANT_NOMEM, "%s: no memory to write it", path);
    if (fd >= 0)
        close(fd);
    else {
        free(f->temp);
        f->temp = NULL;
    }
    file_new_discard(f);
    return status;
}

/* Makes the rename itself durable; a file system that cannot sync a folder has no better to offer. */
static void sync_folder_of(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = '\0';
    int fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

kvant_status file_new_commit(file_new *f, kvant_error *err)
{
    /* ferror keeps no errno of an earlier write, but a full disk fails the flush again. */
    errno = EIO;
    bool ok = fflush(f->stream) == 0 && !ferror(f->stream) && fsync(fileno(f->stream)) == 0;
    int code = errno;
    if (fclose(f->stream) && ok) {
        code = errno;
        ok = false;
    }
    f->stream = NULL;
    if (ok && rename(f->temp, f->path)) {
        code = errno;
        ok = false;
    }
    kvant_status status = KVANT_OK;
    if (ok) {
        free(f->temp);
        f->temp = NULL;
        sync_folder_of(f->path);
    } else {
        errno = code;
        status = file_fail(err, f->path, "cannot write");
    }
    file_new_discard(f);
    return status;
}

kvant_status file_write(const char *path, const void *data, size_t bytes, kvant_error *err)
{
    file_new f;
    kvant_status status = file_new_open(&f, path, err);
    if (status)
        return status;
    errno = 0;
    if (bytes && fwrite(data, 1, bytes, f.stream) != bytes) {
        status = file_fail(err, path, "cannot write");
        file_new_discard(&f);
        return status;
    }
    return file_new_commit(&f, err);
}

kvant_status make_folders(const char *path, bool for_file, kvant_error *err)
{
    char *folder = strdup(path);
    if (!folder)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its name", path);
    char *end = for_file ? strrchr(folder, '/') : NULL;
    if (for_file)
        *(end ? end : folder) = '\0';
    kvant_status status = KVANT_OK;
    for (char *p = folder; *p && !status;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char was = *p;
        *p = '\0';
        struct stat there;
        if (mkdir(folder, 0777) && errno != EEXIST)
            status = file_fail(err, folder, "cannot make this folder");
        else if (stat(folder, &there) || !S_ISDIR(there.st_mode))
            status = kvant_fail(err, KVANT_IO, "%s: not a folder", folder);
        *p = was;
    }
    free(folder);
    return status;
}

/* ---- Time and memory ----------------------------------------------------------------------- */

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void time_text(char utc_text[32])
{
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || !strftime(utc_text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
        utc_text[0] = '\0';
}

static size_t proc_bytes(const char *key)
{
    FILE *f = fopen("/proc/self/status", "re");
    if (!f)
        return 0;
    char line[256];
    unsigned long long kib = 0;
    size_t length = strlen(key);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, length) && line[length] == ':') {
            kib = strtoull(line + length + 1, NULL, 10);
            break;
        }
    fclose(f);
    return (size_t)kib * 1024;
}

enum { HUGE_PAGE = 2 << 20 };

void *alloc_huge(size_t bytes)
{
    if (bytes < HUGE_PAGE || bytes > SIZE_MAX / 2)
        return kvant_alloc(bytes);
    const size_t n = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *memory = aligned_alloc(HUGE_PAGE, n);
#ifdef MADV_HUGEPAGE
    if (memory)
        madvise(memory, n, MADV_HUGEPAGE);     /* before the first touch; a system that has none gives small ones */
#endif
    return memory ? memset(memory, 0, n) : NULL;
}

size_t resident_bytes(void) { return proc_bytes("VmRSS"); }

static size_t earlier_peak;        /* before the kernel's mark was reset */

size_t peak_bytes(void)
{
    const size_t mark = proc_bytes("VmHWM");
    return mark > earlier_peak ? mark : earlier_peak;
}

bool peak_begin(void)
{
    earlier_peak = peak_bytes();
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f)
        return false;
    const bool written = fputs("5", f) >= 0;       /* resets VmHWM to VmRSS */
    return fclose(f) == 0 && written;
}

size_t peak_since(void) { return proc_bytes("VmHWM"); }

void processor_text(char model_name[128])
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    model_name[0] = '\0';
    while (f && !model_name[0] && fgets(line, sizeof line, f))
        sscanf(line, "model name : %127[^\n]", model_name);
    if (f)
        fclose(f);
}

/* ---- Texts --------------------------------------------------------------------------------- */

void bytes_text(uint64_t bytes, char digits[16])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
    double value = (double)bytes;
    size_t unit = 0;
    /* 999.5 would be printed as 1000. */
    for (; value >= 999.5; unit++)
        value /= 1000;
    snprintf(digits, 16, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

char *text_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *result;
    if (vasprintf(&result, format, args) < 0)
        result = NULL;
    va_end(args);
    return result;
}

void text_add(text *t, const char *format, ...)
{
    if (t->failed)
        return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    size_t need = n < 0 ? 0 : t->length + (size_t)n + 1;
    if (need > t->capacity) {
        size_t capacity = need + need / 2 + 64;
        char *data = realloc(t->data, capacity);
        if (data) {
            t->data = data;
            t->capacity = capacity;
        } else
            t->failed = true;
    }
    if (n < 0)
        t->failed = true;
    if (!t->failed)
        t->length += (size_t)vsnprintf(t->data + t->length, t->capacity - t->length, format, again);
    va_end(again);
}

void text_free(text *t)
{
    free(t->data);
    *t = (text){ 0 };
}

size_t utf8_character(const char *s, unsigned *code)
{
    const unsigned char *c = (const unsigned char *)s;
    const size_t n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    *code = n == 1 ? c[0] : n ? c[0] & (0x7fu >> n) : 0xfffd;
    for (size_t i = 1; i < n; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            *code = 0xfffd;
            return 1;
        }
        *code = *code << 6 | (c[i] & 0x3f);
    }
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (n > 1 && (*code < least[n] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000))) {
        *code = 0xfffd;            /* too long a form, or a surrogate */
        return 1;
    }
    return n ? n : 1;
}
