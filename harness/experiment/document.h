/* document.h - a JSON file whose values know where they stand: errors name file, line and path.
 * cJSON parses; what it lets pass (duplicate keys, inexact integers, lost NULs, deep nesting) is refused here. */
#ifndef KVANT_DOCUMENT_H
#define KVANT_DOCUMENT_H

#include "harness/kvant.h"
#include "harness/util.h"

#include <cjson/cJSON.h>

enum { DOCUMENT_BYTES = 1 << 20, DOCUMENT_DEPTH = 16, DOCUMENT_KEYS = 256 };      /* the most that is read */

typedef struct document document;

/* The root is an object; no array is empty; numbers are finite and less than 2^53 in magnitude. KVANT_INVALID says what is
 * not so, KVANT_IO that the file cannot be read. */
kvant_status document_read(const char *path, document **doc, kvant_error *err);
/* The same from memory; `name` stands in errors where a path would. json[bytes] need not be NUL. */
kvant_status document_parse(const char *name, const char *json, size_t bytes, document **doc, kvant_error *err);
/* The same of documents whose root may also be an array. */
kvant_status document_read_any(const char *path, document **doc, kvant_error *err);
kvant_status document_parse_any(const char *name, const char *json, size_t bytes, document **doc, kvant_error *err);
void document_close(document *doc);                                    /* NULL is allowed */

const cJSON *document_root(const document *doc);
const char *document_name(const document *doc);

/* Replaces or adds one value: "KEY=VALUE", where KEY is a dotted path ("chunks", "key.bits", "key.0.bits") and VALUE is JSON,
 * or else a string as it stands. */
kvant_status document_set(document *doc, const char *assignment, kvant_error *err);

/* Puts the members of the root's object `key` in place of the root's own, a null taking one away, and removes `key`. */
kvant_status document_overlay(document *doc, const char *key, kvant_error *err);
/* Takes away a value, which may not be the root: `item` is invalid afterwards. */
void document_remove(document *doc, const cJSON *parent, const cJSON *item);

/* Returns KVANT_INVALID with "file:line: path: text" for a value of the document; one that document_set brought has no line. */
kvant_status document_fail(const document *doc, const cJSON *item, kvant_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Sets the parameter `name` from a scalar of the document. `what` and `owner` say in errors whose it is: "quantizer", "affine". */
kvant_status document_param(const document *doc, const cJSON *item, const char *what, const char *owner, const kvant_param *params,
                            const char *name, kvant_args *args, kvant_error *err);

/* The shortest decimal text that reads back as the same double; an integer has no point or exponent below 1e15. */
void number_text(double value, char digits[32]);

#endif
