/* allocation_write.c - writes allocations in both forms (harness/allocation/allocation.h), one entry a line.
 * Every parameter is written, defaults too: a file means the same when a default changes. */
#include "harness/allocation/allocation.h"

#include <stdlib.h>
#include <string.h>

static bool same_side(const kvcache_side *a, const kvcache_side *b)
{
    const kvant_param *params = a->quantizer->params;
    if (a->quantizer != b->quantizer)
        return false;
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (a->args.v[i] != b->args.v[i])
            return false;
    return !memcmp(a->args.list, b->args.list, sizeof a->args.list);
}

static const kvcache_side *side_at(const kvcache_allocation *a, uint32_t layer, uint32_t head, size_t side)
{
    return &a->side[((size_t)layer * a->n_kv_head + head) * 2 + side];
}

static bool heads_alike(const kvcache_allocation *a, uint32_t layer)
{
    for (uint32_t head = 1; head < a->n_kv_head; head++)
        for (size_t side = 0; side < 2; side++)
            if (!same_side(side_at(a, layer, 0, side), side_at(a, layer, head, side)))
                return false;
    return true;
}

/* Text as JSON has it, in quotes. */
static void add_string(text *out, const char *s)
{
    cJSON *item = cJSON_CreateString(s);
    char *json = item ? cJSON_PrintUnformatted(item) : NULL;
    out->failed |= !json;
    text_add(out, "%s", json ? json : "");
    cJSON_free(json);
    cJSON_Delete(item);
}

static void add_number(text *out, const char *name, double value)
{
    char digits[32];
    number_text(value, digits);
    text_add(out, "\"%s\": %s", name, digits);
}

static void add_side(text *out, const kvcache_side *side)
{
    const kvant_param *params = side->quantizer->params;
    text_add(out, "{\"quantizer\": \"%s\"", side->quantizer->name);
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++) {
        char value[KVANT_VALUE_TEXT];
        const bool quoted = params[i].type == KVANT_CHOICE || params[i].type == KVANT_LIST;
        kvant_format_arg(params, i, &side->args, value, sizeof value);
        text_add(out, quoted ? ", \"%s\": \"%s\"" : ", \"%s\": %s", params[i].name, value);
    }
    text_add(out, "}");
}

static void add_group(text *out, const kvcache_allocation *a, uint32_t layer, uint32_t head, bool all_heads)
{
    const kvcache_side *key = side_at(a, layer, head, 0), *value = side_at(a, layer, head, 1);
    text_add(out, "    {\"layer\": %u", layer);
    if (!all_heads)
        text_add(out, ", \"head\": %u", head);
    text_add(out, ", \"key\": ");
    add_side(out, key);
    text_add(out, ", \"value\": ");
    if (same_side(key, value))
        text_add(out, "\"same\"");
    else
        add_side(out, value);
    text_add(out, "}");
}

static void add_model(text *out, const kvcache_shape *shape, const allocation_record *record)
{
    text_add(out, "  \"model\": {");
    for (int i = 0; i < 2; i++) {
        const char *given = i ? record->model_sha256 : record->model;
        if (given) {
            text_add(out, "\"%s\": ", i ? "sha256" : "name");
            add_string(out, given);
            text_add(out, ", ");
        }
    }
    text_add(out, "\"n_layer\": %u, \"n_kv_head\": %u, \"head_dim\": %u},\n", shape->n_layer, shape->n_kv_head, shape->head_dim);
}

kvant_status allocation_write(const kvcache_allocation *a, const kvcache_shape *shape, const allocation_record *record, text *out,
                              kvant_error *err)
{
    allocation_bits bits;
    const kvant_status status = allocation_average(a, shape, &bits, err);
    if (status)
        return status;
    text_add(out, "{\n  \"kvant_allocation\": 1,\n");
    add_model(out, shape, record);
    text_add(out, "  ");
    add_number(out, "budget", record->budget);
    text_add(out, ", \"budget_bits\": \"%s\", ", record->by_stored ? "stored" : "asked");
    add_number(out, "bits_asked", bits.asked);
    text_add(out, ", ");
    add_number(out, "bits_stored", bits.stored);
    text_add(out, ",\n  \"provenance\": {");
    for (size_t i = 0; i < record->n_provenance; i++) {
        text_add(out, "%s\"%s\": ", i ? ", " : "", record->provenance[i][0]);
        add_string(out, record->provenance[i][1]);
    }
    text_add(out, "},\n  \"groups\": [\n");
    for (uint32_t layer = 0; layer < a->n_layer; layer++) {
        const bool alike = heads_alike(a, layer);
        for (uint32_t head = 0; head < (alike ? 1 : a->n_kv_head); head++) {
            text_add(out, "%s", layer || head ? ",\n" : "");
            add_group(out, a, layer, head, alike);
        }
    }
    text_add(out, "\n  ]\n}\n");
    return KVANT_OK;
}

kvant_status allocation_write_optiq(const kvcache_allocation *a, text *out, kvant_error *err)
{
    const kvant_quantizer *affine = kvant_find("affine", err);
    if (!affine)
        return KVANT_INVALID;
    const size_t bits = (size_t)(param_find(affine->params, "bits") - affine->params);
    const size_t group_size = (size_t)(param_find(affine->params, "group_size") - affine->params);
    text_add(out, "[\n");
    for (uint32_t layer = 0; layer < a->n_layer; layer++) {
        const kvcache_side *side = side_at(a, layer, 0, 0);
        kvcache_side mlx;
        if (!heads_alike(a, layer) || !same_side(side, side_at(a, layer, 0, 1)))
            return kvant_fail(err, KVANT_INVALID, "layer %u: kv_config.json has one entry for all heads, keys and values of a layer, and "
                              "these differ; use groups by layer, with both sides together", layer);
        if (side->quantizer != affine || !allocation_mlx_bits(side->args.v[bits]) || !allocation_mlx_group(side->args.v[group_size]) ||
            allocation_mlx_side(side->args.v[bits], side->args.v[group_size], &mlx, err) || !same_side(side, &mlx))
            return kvant_fail(err, KVANT_INVALID, "layer %u: kv_config.json means affine with scheme=mlx, bits 2, 3, 4, 5, 6 or 8 and "
                              "group_size 32, 64 or 128; this layer has another quantizer (%s)", layer, side->quantizer->name);
        text_add(out, "%s  {\"layer_idx\": %u, \"bits\": %.0f, \"group_size\": %.0f}", layer ? ",\n" : "", layer, side->args.v[bits],
                 side->args.v[group_size]);
    }
    text_add(out, "\n]\n");
    return KVANT_OK;
}
