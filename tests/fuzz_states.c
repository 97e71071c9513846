/* fuzz_states.c - hostile state files: every input ends in sections that lie inside the file or in an error, and a codec takes a
 * hostile state's tables only if its sizes are right.
 * The first byte says what is arbitrary: the whole file, a payload whose checksums are right, or a codec's state. */
#include "harness/experiment/states.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { D = 32, SUM = 32, BLOCK = 4096 - SUM };

static void parse(const uint8_t *file, size_t bytes)
{
    states_file f;
    kvant_error err;
    if (states_parse("input", file, bytes, &f, &err))
        return;
    size_t seen = strlen(f.key) + strlen(f.origin);
    for (size_t i = 0; i < f.state_bytes; i++)
        seen += f.state[i];
    volatile size_t keep = seen;
    (void)keep;
    free(f.payload);
}

/* The payload's blocks, each with the checksum of it and of the checksum before. */
static void parse_payload(const uint8_t *payload, size_t bytes)
{
    uint8_t *file = malloc(bytes + (bytes / BLOCK + 1) * SUM), *at = file;
    if (!file)
        return;
    for (size_t done = 0, n; done < bytes; done += n, at += n + SUM) {
        char hex[SHA256_HEX];
        sha256 *hash = sha256_begin();
        n = bytes - done < BLOCK ? bytes - done : BLOCK;
        memcpy(at, payload + done, n);
        if (done)
            sha256_add(hash, at - SUM, SUM);
        sha256_add(hash, at, n);
        sha256_end(hash, hex);
        for (size_t i = 0; i < SUM; i++) {
            const char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };
            at[n + i] = (uint8_t)strtoul(digits, NULL, 16);
        }
    }
    parse(file, (size_t)(at - file));
    free(file);
}

/* A codec's own state with the input over its end, where the tables are, or over all of it. */
static void open_state(const uint8_t *data, size_t size, bool tables)
{
    static const char *const names[] = { "turboquant_mse", "turboquant_prod", "rvq", "qjl", "pq", "kvquant", "e8", "polarquant", "affine" };
    kvant_error err;
    const kvant_quantizer *q = kvant_find(names[data[0] % (sizeof names / sizeof *names)], &err);
    const kvant_shape shape = { .dim = D, .side = KVANT_VECTOR };
    kvant_codec codec, taken;
    if (!q || kvant_open(q, &shape, NULL, NULL, &codec, &err))
        return;
    data++, size--;
    size_t n = size < codec.plan.state ? size : codec.plan.state;
    memcpy((char *)codec.state + (tables ? codec.plan.state - n : 0), data, n);
    if (!kvant_open_state(q, &shape, NULL, NULL, codec.state, codec.plan.state, &taken, &err)) {
        float x[2 * D], dot[2];
        for (size_t i = 0; i < 2 * D; i++)
            x[i] = (float)(i % 5) - 2;
        uint8_t *code = kvant_alloc(kvant_bytes(&taken, 2));
        void *scratch = kvant_alloc(taken.scratch), *prepared = kvant_alloc(taken.query);
        if (code && scratch && prepared && taken.plan.block == 1) {
            kvant_encode(&taken, x, 0, 2, code, scratch);
            kvant_query(&taken, x, 1, prepared, scratch);
            kvant_score(&taken, prepared, 1, code, 0, 2, dot, scratch);
            kvant_decode(&taken, code, 0, 2, x, scratch);
        }
        free(code);
        free(scratch);
        free(prepared);
        kvant_close(&taken);
    }
    kvant_close(&codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    switch (data[0] % 4) {
    case 0: parse(data + 1, size - 1); break;
    case 1: parse_payload(data + 1, size - 1); break;
    case 2: open_state(data + 1, size - 1, false); break;
    default: open_state(data + 1, size - 1, true);
    }
    return 0;
}
