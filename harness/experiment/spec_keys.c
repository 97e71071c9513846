/* spec_keys.c - the keys that a spec may have beside `name`, `expect`, `questions` and the parameters of its probes, and the words that
 * some take. One table for what reads a spec, what writes a cell's identity, and what explains them. */
#include "harness/experiment/spec.h"

#include <string.h>

static const spec_key keys[] = {
    { "probe", SPEC_PROBE, "what is measured", { NULL } },
    { "model", SPEC_MODEL, "the model whose cache is measured: a name or a GGUF file", { NULL } },
    { "data", SPEC_DATA, "the text that it reads, or vectors: a name, a file, or a dataset with its parameters", { NULL } },
    { "key", SPEC_KEY, "the quantizer of keys, with its parameters", { NULL } },
    { "value", SPEC_VALUE, "the quantizer of values; \"same\" (default): as the keys", { NULL } },
    { "cache", SPEC_CACHE, "in place of both: pairs of a `key` and a `value` that belong together", { NULL } },
    { "vector", SPEC_VECTOR, "with vector data, the quantizer", { NULL } },
    { "sink", SPEC_SINK, "first tokens that stay in f16, counted (default 0); layers with a sliding window forget them with it", { NULL } },
    { "window", SPEC_WINDOW, "last tokens that stay in f16, counted (default 0)", { NULL } },
    { "sliding", SPEC_SLIDING, "layers with a sliding window: coded as all others, or f16", { "quantized", "f16" } },
    { "prefill", SPEC_PREFILL, "what the tokens of one pass see of each other: the codes that the cache will hold; or f16, as in engines "
      "that append after attention. A decode step is a pass of one token", { "packed", "raw" } },
    { "key_stage", SPEC_KEY_STAGE, "keys are coded after RoPE, or before it and rotated whenever they are read; sinks and window likewise",
      { "post_rope", "pre_rope" } },
    { "decode_reads", SPEC_DECODE_READS, "how decode steps read what is in codes: inner products from the codes; all of them decoded "
      "in every step; or an f16 copy beside them, whose bytes count. What is f16 is read as f16", { "codes", "decoded", "copy" } },
    { "seed", SPEC_SEED, "of rotations and sketches (default 0)", { NULL } },
    { "seed_rule", SPEC_SEED_RULE, "all layers share the seed, or each adds its number", { "shared", "per_layer" } },
    { "isa", SPEC_ISA, "kernels: auto (default), scalar, or a target", { NULL } },
    { "calibration", SPEC_CALIBRATION, "what trained methods and sensitivities learn from: data, n, length, seed", { NULL } },
    { "allocator", SPEC_ALLOCATOR, "bits per layer or head: a file, or an allocator with a budget", { NULL } },
    { "weights", SPEC_WEIGHTS, "how the model's weights are held: f32, stream (unpacked as they are used; the same results), bf16 (other "
      "results, measured), or auto, by memory (default)", { NULL } },
    { NULL, SPEC_PARAM, NULL, { NULL } }
};

const spec_key *spec_keys(void) { return keys; }

static const spec_key *key_of(spec_kind kind)
{
    const spec_key *k = keys;
    while (k->name && k->kind != kind)
        k++;
    return k;
}

const char *spec_word(spec_kind kind, int index) { return key_of(kind)->words[index]; }

kvant_status spec_find_word(spec_kind kind, const char *given, int *index, kvant_error *err)
{
    const spec_key *k = key_of(kind);
    text all = { 0 };
    for (int i = 0; i < SPEC_WORDS && k->words[i]; i++) {
        if (!strcmp(given, k->words[i])) {
            text_free(&all);
            *index = i;
            return KVANT_OK;
        }
        const bool last = i + 1 == SPEC_WORDS || !k->words[i + 1];
        text_add(&all, "%s\"%s\"", !i ? "" : last ? " or " : ", ", k->words[i]);
    }
    const kvant_status status = kvant_fail(err, KVANT_INVALID, "must be %s", all.data ? all.data : "another word");
    text_free(&all);
    return status;
}

/* Configs came to have it later than the others. At its default it is left out, so that a cell which knows nothing of it has the
 * config of stores made before, and with the same code the same key: it is found there, compared and merged. */
const char *spec_left_out(const char *name)
{
    const spec_key *k = key_of(SPEC_DECODE_READS);
    return !strcmp(name, k->name) ? k->words[0] : NULL;
}
