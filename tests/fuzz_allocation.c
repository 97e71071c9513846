/* fuzz_allocation.c - hostile allocation files: every input ends in a whole allocation or in an error that says something.
 * What was read is written and read again, and must be the same. */
#include "harness/allocation/allocation.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const kvcache_shape shape = { .n_layer = 2, .n_kv_head = 2, .head_dim = 64 };
enum { SIDES = 8 };

static void read_again(const kvcache_allocation *a, const text *written)
{
    kvant_error err = { "" };
    kvcache_allocation b;
    if (written->failed)
        return;
    if (allocation_parse("written", written->data, written->length, &shape, &b, &err))
        abort();
    for (size_t i = 0; i < SIDES; i++) {
        const kvant_param *params = a->side[i].quantizer->params;
        if (a->side[i].quantizer != b.side[i].quantizer)
            abort();
        for (int p = 0; params && p < KVANT_MAX_PARAMS && params[p].name; p++)
            if (a->side[i].args.v[p] != b.side[i].args.v[p])
                abort();
    }
    allocation_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 14)
        return 0;
    kvant_error err = { "" };
    kvcache_allocation a;
    if (allocation_parse("input", (const char *)data, size, &shape, &a, &err)) {
        if (!err.text[0] || a.side)
            abort();
        return 0;
    }
    text own = { 0 }, optiq = { 0 };
    if (allocation_write(&a, &shape, &(allocation_record) { .budget = 1 }, &own, &err))
        abort();
    read_again(&a, &own);
    if (!allocation_write_optiq(&a, &optiq, &err))
        read_again(&a, &optiq);
    text_free(&own);
    text_free(&optiq);
    allocation_free(&a);
    return 0;
}
