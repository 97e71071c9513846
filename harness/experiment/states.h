/* states.h - a folder of stored states: what a quantizer's init and train made, kept for other processes and other programs.
 * A file is one codec's state under a key of everything that the state depends on; it is used whole and verified, or not at all. */
#ifndef KVANT_STATES_H
#define KVANT_STATES_H

#include "harness/lm/kvcache.h"
#include "harness/util.h"

typedef struct states states;

/* What a state is made from. */
typedef struct {
    const kvant_quantizer *quantizer;
    kvant_shape shape;
    kvant_args args;
    const float *vectors;          /* [n][shape.dim] that train gets; NULL: it is not trained */
    size_t n;
} states_source;

/* STATES_READ: the folder must be there and is left as it is. STATES_WRITE: it is made when it is not, and what it lacks is added. */
typedef enum { STATES_READ, STATES_WRITE } states_mode;
kvant_status states_open(const char *folder, states_mode mode, states **s, kvant_error *err);
void states_close(states *s);      /* NULL is allowed */

/* Opens a codec, as kvant_open and, with vectors, kvant_train would make it: from the folder if its state is there, else by these,
 * and then it is stored if the mode is STATES_WRITE. A file that is damaged, or not what its name says, is KVANT_INVALID: it
 * is neither used nor replaced. Several threads may ask at a time. */
kvant_status states_codec(states *s, const states_source *source, const char *isa, kvant_codec *codec, kvant_error *err);

/* The same for the codecs of a cache: a policy's `states`. Lives as long as s. */
const kvcache_states *states_for_cache(states *s);

typedef struct { size_t found, made; uint64_t bytes; } states_count;       /* different ones; bytes: of their files */
states_count states_counted(const states *s);

/* Of an untrained state that holds imported tables, which results must be told apart by: "FILE" and {"PART": sha256, ...}, canonical
 * JSON; *origin is freed by the caller. NULL: no state is there, or nothing in it was imported. Once asked for, a file that
 * changes is refused. */
kvant_status states_imported(states *s, const states_source *source, char **origin, kvant_error *err);

/* ---- Tables as .npy (states_parts.c) ------------------------------------------------------------- */

/* Names of the tables that can be exported, separated by blanks. */
kvant_status states_parts(const kvant_codec *codec, text *names, kvant_error *err);

/* Writes one table: a rotation [d][d], so that y = R x; "rotation" of a Hadamard rotation too, whose "signs" are [d] of +1 and -1; a
 * sketch [m][d]; a codebook [2^bits], or [channels][2^bits]; others as they lie in the state. */
kvant_status states_export(const kvant_codec *codec, const char *part, const char *path, kvant_error *err);

/* Replaces one table of an untrained state in the folder (STATES_WRITE) by a file's, and stores it as imported. Tables must have the
 * shape that export gives them and be finite; a rotation orthogonal within ROTATION_TOLERANCE; signs +1 or -1; a codebook
 * ascending, and its thresholds are made anew. Else KVANT_INVALID. */
#define ROTATION_TOLERANCE 1e-4    /* of any entry of R R^T - I: far above what float32 leaves, far below what float16 does */
kvant_status states_import(states *s, const states_source *source, const char *part, const char *path, kvant_error *err);

/* ---- Files (for the above, and for tests) --------------------------------------------------------- */

/* A file's content; the strings end with a NUL. payload is what owns the memory, freed by the caller. */
typedef struct { char *payload; const char *key, *origin; const uint8_t *state; size_t state_bytes; } states_file;

/* Reads and verifies a file's bytes; `name` is for messages. KVANT_INVALID names the range of bytes that is wrong. */
kvant_status states_parse(const char *name, const void *data, size_t bytes, states_file *file, kvant_error *err);

/* The key of a state, and the name of its file in a folder. Both freed by the caller. */
kvant_status states_key(const states_source *source, char **key, kvant_error *err);
char *states_path(const char *folder, const states_source *source, const char *key);

/* A source's state and what of it was imported, whether it is in the folder or is made now: for states_import. */
kvant_status states_fetch(states *s, const states_source *source, kvant_codec *codec, char **origin, kvant_error *err);
kvant_status states_store(states *s, const states_source *source, const kvant_codec *codec, const char *origin, kvant_error *err);

#endif
