/* util.h - the few things that everything needs: files, hashes, time, names.
 * Anything with a library of its own (JSON, SQL, statistics) is used directly where it is needed. */
#ifndef KVANT_UTIL_H
#define KVANT_UTIL_H

#include "harness/kvant.h"

#include <stdio.h>

enum { SHA256_HEX = 65 };

/* A running SHA-256; end writes 64 hex digits and a NUL and frees. begin returns NULL when out of memory. Should OpenSSL
 * fail (it has no reason to but memory), the digits are an empty text, which equals no hash. */
typedef struct sha256 sha256;
sha256 *sha256_begin(void);
void sha256_add(sha256 *hash, const void *data, size_t bytes);
void sha256_end(sha256 *hash, char hex[SHA256_HEX]);
void sha256_of(const void *data, size_t bytes, char hex[SHA256_HEX]);
kvant_status sha256_file(const char *path, char hex[SHA256_HEX], kvant_error *err);

/* KVANT_IO with "path: what: " and errno as text; a full disk gets its remedy. */
kvant_status file_fail(kvant_error *err, const char *path, const char *what);

/* Reads a whole regular file; *data is NUL-terminated beyond *bytes and freed by the caller. */
kvant_status file_read(const char *path, char **data, size_t *bytes, kvant_error *err);
/* Writes beside the target, syncs and renames: the file is there whole or not at all. */
kvant_status file_write(const char *path, const void *data, size_t bytes, kvant_error *err);
/* The same in pieces: write to `stream`, then commit (syncs, renames) or discard (nothing is left). Zero-initialise.
 * A write error is reported by commit, which discards when it fails; discard after either is a no-op. A target that exists
 * and is not a regular file (a device, a folder) is refused. */
typedef struct { FILE *stream; char *path, *temp; } file_new;
kvant_status file_new_open(file_new *f, const char *path, kvant_error *err);
kvant_status file_new_commit(file_new *f, kvant_error *err);
void file_new_discard(file_new *f);
/* mkdir -p of the folder (not of its last component when `for_file`). */
kvant_status make_folders(const char *path, bool for_file, kvant_error *err);

/* kvant_alloc for arrays that are read over and over: from 2 MiB on aligned to that, and the system is asked for huge pages, with
 * which memory is read faster. NULL: none. Freed by free(). */
void *alloc_huge(size_t bytes);

double seconds_now(void);                              /* monotonic */
void time_text(char utc_text[32]);                     /* UTC, 2026-11-22T15:34:23Z */
size_t resident_bytes(void);                           /* VmRSS, 0 if unknown */
size_t peak_bytes(void);                               /* the most that it ever was */
bool peak_begin(void);                                 /* from here on peak_since counts; false: the system cannot */
size_t peak_since(void);
void processor_text(char model_name[128]);             /* of the first processor; empty if the system does not say */

/* The known name with the least edit distance to `name`, or NULL when none is near. names: NULL-terminated. */
const char *nearest_name(const char *name, const char *const *names);
/* Of a NULL-terminated array of pointers to plug-ins, whose first member is `const char *name`, the one of that name; at most
 * 256 are looked at. NULL: err says that this `kind` ("probe") of that name is unknown, with the nearest one. */
const void *plugin_find(const void *plugins, const char *kind, const char *name, kvant_error *err);

/* The row of that name in a plug-in's table of parameters (which may be NULL); NULL: none. */
const kvant_param *param_find(const kvant_param *params, const char *name);

void bytes_text(uint64_t bytes, char digits[16]);     /* "98 MB", "1.3 MB", "512 B": decimal units, two figures or more */

/* Bytes of the UTF-8 character that a text begins with, and its code point; 1 and 0xfffd where it begins with none. */
size_t utf8_character(const char *s, unsigned *code);

/* printf into a new string; NULL when out of memory. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A growing text. Zero-initialise; `failed` is set when memory ran out, and everything after that is a no-op. */
typedef struct { char *data; size_t length, capacity; bool failed; } text;
void text_add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(text *t);

#endif
