/* allocation.c - reads allocation files, and accounts for them (harness/allocation/allocation.h).
 * What a file does not say is an error: a group that falls back to something in silence is a wrong table some day. */
#include "harness/allocation/allocation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

void allocation_free(kvcache_allocation *a)
{
    free(a->side);
    *a = (kvcache_allocation){ 0 };
}

/* ---- Bits ---------------------------------------------------------------------------------------- */

static kvant_status describe(const kvcache_side *side, const kvcache_shape *cache, uint32_t layer, uint32_t head, kvant_side which,
                             kvant_codec *codec, kvant_error *err)
{
    const kvant_shape shape = { .dim = cache->head_dim, .side = which, .layer = layer, .head = head, .rope = cache->rope };
    return kvant_describe(side->quantizer, &shape, &side->args, NULL, codec, err);
}

kvant_status allocation_average(const kvcache_allocation *a, const kvcache_shape *shape, allocation_bits *bits, kvant_error *err)
{
    const size_t n = (size_t)a->n_layer * a->n_kv_head * 2;
    *bits = (allocation_bits){ 0 };
    for (size_t i = 0; i < n; i++) {
        kvant_codec codec;
        const kvant_status status = describe(&a->side[i], shape, (uint32_t)(i / 2 / a->n_kv_head), (uint32_t)(i / 2 % a->n_kv_head),
                                             i % 2 ? KVANT_VALUE : KVANT_KEY, &codec, err);
        if (status)
            return status;
        bits->asked += codec.plan.bits_asked;
        bits->stored += kvant_bits(&codec);
    }
    bits->asked /= (double)n;
    bits->stored /= (double)n;
    return KVANT_OK;
}

/* ---- Reading ------------------------------------------------------------------------------------- */

typedef struct { const document *doc; const kvcache_shape *shape; kvcache_allocation *out; } reader;

static kvant_status unknown_key(const reader *r, const cJSON *item, const char *const *known, kvant_error *err)
{
    const char *near = nearest_name(item->string, known);
    return document_fail(r->doc, item, err, "unknown key%s%s%s", near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
}

/* An integer from 0 to max - 1, or from `least` on. */
static kvant_status read_index(const reader *r, const cJSON *item, uint32_t least, uint32_t max, const char *what, uint32_t *index,
                               kvant_error *err)
{
    const double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(v >= least && v <= max) || v != floor(v))
        return document_fail(r->doc, item, err, "must be %s, an integer from %u to %u", what, least, max);
    *index = (uint32_t)v;
    return KVANT_OK;
}

/* "f16", or {"quantizer": "affine", "bits": 4}. */
static kvant_status read_side(const reader *r, const cJSON *item, kvcache_side *side, kvant_error *err)
{
    const cJSON *name = cJSON_IsObject(item) ? cJSON_GetObjectItemCaseSensitive(item, "quantizer") : item;
    kvant_error why;
    if (!cJSON_IsString(name))
        return document_fail(r->doc, name ? name : item, err, "must be a quantizer's name in quotes, or an object with a `quantizer`");
    *side = (kvcache_side){ .quantizer = kvant_find(name->valuestring, &why) };
    if (!side->quantizer)
        return document_fail(r->doc, name, err, "%s", why.text);
    side->args = kvant_defaults(side->quantizer->params);
    kvant_status status = KVANT_OK;
    for (const cJSON *c = name == item ? NULL : item->child; c && !status; c = c->next)
        if (c != name)
            status = document_param(r->doc, c, "quantizer", side->quantizer->name, side->quantizer->params, c->string, &side->args, err);
    return status;
}

/* Sets heads first ... last of a layer's side. */
static kvant_status place(const reader *r, const cJSON *item, uint32_t layer, uint32_t first, uint32_t last, kvant_side which,
                          const kvcache_side *side, kvant_error *err)
{
    kvant_codec codec;
    kvant_error why;
    for (uint32_t head = first; head <= last; head++) {
        kvcache_side *slot = &r->out->side[kvcache_group(r->shape, layer, head, which)];
        if (slot->quantizer)
            return document_fail(r->doc, item, err, "layer %u, head %u: its %s are given twice", layer, head,
                                 which == KVANT_KEY ? "keys" : "values");
        if (describe(side, r->shape, layer, head, which, &codec, &why))
            return document_fail(r->doc, item, err, "%s", why.text);
        *slot = *side;
    }
    return KVANT_OK;
}

static kvant_status read_group(const reader *r, const cJSON *group, kvant_error *err)
{
    static const char *const known[] = { "layer", "head", "key", "value", NULL };
    const cJSON *item[4] = { NULL };
    if (!cJSON_IsObject(group))
        return document_fail(r->doc, group, err, "must be an object {layer, head, key, value}");
    for (const cJSON *c = group->child; c; c = c->next) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], c->string))
            k++;
        if (!known[k])
            return unknown_key(r, c, known, err);
        item[k] = c;
    }
    if (!item[0] || !(item[2] || item[3]))
        return document_fail(r->doc, group, err, "`%s` is missing", item[0] ? "key` or `value" : "layer");
    uint32_t layer = 0, first = 0, last = r->shape->n_kv_head - 1;
    kvcache_side key, value;
    kvant_status status = read_index(r, item[0], 0, r->shape->n_layer - 1, "a layer of the model", &layer, err);
    if (!status && item[1] && !(status = read_index(r, item[1], 0, last, "a KV head of the model", &first, err)))
        last = first;
    if (!status && item[2] && !(status = read_side(r, item[2], &key, err)))
        status = place(r, item[2], layer, first, last, KVANT_KEY, &key, err);
    if (status || !item[3])
        return status;
    const bool same = cJSON_IsString(item[3]) && !strcmp(item[3]->valuestring, "same");
    if (same && !item[2])
        return document_fail(r->doc, item[3], err, "\"same\" means this entry's `key`, and it has none");
    if (!same && (status = read_side(r, item[3], &value, err)))
        return status;
    return place(r, item[3], layer, first, last, KVANT_VALUE, same ? &key : &value, err);
}

static kvant_status read_model(const reader *r, const cJSON *model, kvant_error *err)
{
    static const char *const known[] = { "name", "sha256", "n_layer", "n_kv_head", "head_dim", NULL };
    const uint32_t is[] = { 0, 0, r->shape->n_layer, r->shape->n_kv_head, r->shape->head_dim };
    bool seen[5] = { false };
    if (!cJSON_IsObject(model))
        return document_fail(r->doc, model, err, "must be an object {name, sha256, n_layer, n_kv_head, head_dim}");
    for (const cJSON *c = model->child; c; c = c->next) {
        size_t k = 0;
        uint32_t n = 0;
        while (known[k] && strcmp(known[k], c->string))
            k++;
        if (!known[k])
            return unknown_key(r, c, known, err);
        seen[k] = true;
        if (k < 2 && !cJSON_IsString(c))
            return document_fail(r->doc, c, err, "must be a text in quotes");
        kvant_status status = k < 2 ? KVANT_OK : read_index(r, c, 1, INT32_MAX, "a count", &n, err);
        if (status)
            return status;
        if (k >= 2 && n != is[k]) {
            document_fail(r->doc, c, err, "is %u, and the model's is %u: this allocation is for another model", n, is[k]);
            return KVANT_SKIP;
        }
    }
    for (size_t k = 2; k < 5; k++)
        if (!seen[k])
            return document_fail(r->doc, model, err, "`%s` is missing", known[k]);
    return KVANT_OK;
}

static kvant_status check_complete(const reader *r, const cJSON *groups, const char *remedy, kvant_error *err)
{
    for (uint32_t layer = 0; layer < r->shape->n_layer; layer++)
        for (uint32_t head = 0; head < r->shape->n_kv_head; head++)
            for (int side = 0; side < 2; side++)
                if (!r->out->side[kvcache_group(r->shape, layer, head, side ? KVANT_VALUE : KVANT_KEY)].quantizer)
                    return document_fail(r->doc, groups, err, "layer %u, head %u: nothing is said of its %s; %s", layer, head,
                                         side ? "values" : "keys", remedy);
    return KVANT_OK;
}

/* A file that was edited by hand, or written when a quantizer stored something else, says so. */
static kvant_status check_averages(const reader *r, const cJSON *asked, const cJSON *stored, kvant_error *err)
{
    allocation_bits bits;
    kvant_status status = allocation_average(r->out, r->shape, &bits, err);
    if (!status && asked && !(fabs(asked->valuedouble - bits.asked) <= 1e-6))
        status = document_fail(r->doc, asked, err, "the groups come to %.9g; correct or remove this", bits.asked);
    if (!status && stored && !(fabs(stored->valuedouble - bits.stored) <= 1e-6))
        status = document_fail(r->doc, stored, err, "the groups come to %.9g; correct or remove this", bits.stored);
    return status;
}

static kvant_status check_scalar(const reader *r, const cJSON *item, const char *name, kvant_error *err)
{
    if (!strcmp(name, "provenance")) {
        if (!cJSON_IsObject(item))
            return document_fail(r->doc, item, err, "must be an object of names and texts");
        for (const cJSON *c = item->child; c; c = c->next)
            if (!cJSON_IsString(c) && !cJSON_IsNumber(c))
                return document_fail(r->doc, c, err, "must be a number or a text in quotes");
        return KVANT_OK;
    }
    if (!strcmp(name, "budget_bits"))
        return cJSON_IsString(item) && (!strcmp(item->valuestring, "asked") || !strcmp(item->valuestring, "stored"))
                   ? KVANT_OK : document_fail(r->doc, item, err, "must be \"asked\" or \"stored\"");
    return cJSON_IsNumber(item) && item->valuedouble > 0 ? KVANT_OK : document_fail(r->doc, item, err, "must be a number above 0");
}

static kvant_status read_own(const reader *r, kvant_error *err)
{
    enum { MARK, MODEL, GROUPS, ASKED, STORED };
    static const char *const known[] = { "kvant_allocation", "model", "groups", "bits_asked", "bits_stored", "budget", "budget_bits",
                                         "provenance", NULL };
    const cJSON *root = document_root(r->doc), *item[8] = { NULL };
    kvant_status status = KVANT_OK;
    uint32_t version;
    for (const cJSON *c = root->child; c && !status; c = c->next) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], c->string))
            k++;
        if (!known[k])
            return unknown_key(r, c, known, err);
        item[k] = c;
        status = k >= ASKED ? check_scalar(r, c, known[k], err) : KVANT_OK;
    }
    for (size_t k = MARK; k <= GROUPS && !status; k++)
        if (!item[k])
            status = document_fail(r->doc, root, err, "`%s` is missing, so this is no allocation", known[k]);
    if (!status)
        status = read_index(r, item[MARK], VERSION, VERSION, "the version of this form", &version, err);
    if (!status)
        status = read_model(r, item[MODEL], err);
    if (!status && !cJSON_IsArray(item[GROUPS]))
        status = document_fail(r->doc, item[GROUPS], err, "must be an array of objects {layer, head, key, value}");
    for (const cJSON *c = status ? NULL : item[GROUPS]->child; c && !status; c = c->next)
        status = read_group(r, c, err);
    if (!status)
        status = check_complete(r, item[GROUPS], "add an entry for it", err);
    return status ? status : check_averages(r, item[ASKED], item[STORED], err);
}

/* ---- mlx-optiq's ----------------------------------------------------------------------------------- */

bool allocation_mlx_bits(double bits) { return bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8; }
bool allocation_mlx_group(double group_size) { return group_size == 32 || group_size == 64 || group_size == 128; }

kvant_status allocation_mlx_side(double bits, double group_size, kvcache_side *side, kvant_error *err)
{
    char given[96];
    side->quantizer = kvant_find(bits == 16 ? "f16" : "affine", err);
    if (!side->quantizer)
        return KVANT_INVALID;
    side->args = kvant_defaults(side->quantizer->params);
    if (bits == 16)
        return KVANT_OK;
    snprintf(given, sizeof given, "bits=%.0f,group_size=%.0f,scheme=mlx", bits, group_size);
    return kvant_parse(side->quantizer->params, given, &side->args, err);
}

static kvant_status read_optiq_layer(const reader *r, const cJSON *entry, kvant_error *err)
{
    static const char *const known[] = { "layer_idx", "bits", "group_size", NULL };
    const cJSON *item[3] = { NULL };
    if (!cJSON_IsObject(entry))
        return document_fail(r->doc, entry, err, "must be an object {layer_idx, bits, group_size}");
    for (const cJSON *c = entry->child; c; c = c->next) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], c->string))
            k++;
        if (!known[k])
            return unknown_key(r, c, known, err);
        if (!cJSON_IsNumber(c))
            return document_fail(r->doc, c, err, "must be a number");
        item[k] = c;
    }
    for (size_t k = 0; k < 3; k++)
        if (!item[k])
            return document_fail(r->doc, entry, err, "`%s` is missing", known[k]);
    const double bits = item[1]->valuedouble, group_size = item[2]->valuedouble;
    if (!allocation_mlx_bits(bits) && bits != 16)
        return document_fail(r->doc, item[1], err, "must be 2, 3, 4, 5, 6 or 8, or 16 for f16");
    if (!allocation_mlx_group(group_size))
        return document_fail(r->doc, item[2], err, "must be 32, 64 or 128");
    uint32_t layer = 0;
    kvcache_side side = { 0 };
    kvant_status status = read_index(r, item[0], 0, r->shape->n_layer - 1, "a layer of the model", &layer, err);
    if (!status)
        status = allocation_mlx_side(bits, group_size, &side, err);
    if (!status)
        status = place(r, entry, layer, 0, r->shape->n_kv_head - 1, KVANT_KEY, &side, err);
    return status ? status : place(r, entry, layer, 0, r->shape->n_kv_head - 1, KVANT_VALUE, &side, err);
}

static kvant_status read_optiq(const reader *r, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    for (const cJSON *c = document_root(r->doc)->child; c && !status; c = c->next)
        status = read_optiq_layer(r, c, err);
    return status ? status : check_complete(r, document_root(r->doc), "mlx-optiq would leave it at full precision: say so by an entry "
                                            "with \"bits\": 16", err);
}

/* ---- Entry ------------------------------------------------------------------------------------------- */

static kvant_status read_document(const document *doc, const kvcache_shape *shape, kvcache_allocation *out, kvant_error *err)
{
    const reader r = { doc, shape, out };
    *out = (kvcache_allocation){ shape->n_layer, shape->n_kv_head,
                                 calloc((size_t)shape->n_layer * shape->n_kv_head * 2, sizeof *out->side) };
    kvant_status status = !out->side ? kvant_fail(err, KVANT_NOMEM, "%s: no memory for its groups", document_name(doc))
                        : cJSON_IsArray(document_root(doc)) ? read_optiq(&r, err) : read_own(&r, err);
    if (status)
        allocation_free(out);
    return status;
}

kvant_status allocation_read(const char *path, const kvcache_shape *shape, kvcache_allocation *out, kvant_error *err)
{
    document *doc;
    *out = (kvcache_allocation){ 0 };
    kvant_status status = document_read_any(path, &doc, err);
    if (!status)
        status = read_document(doc, shape, out, err);
    document_close(doc);
    return status;
}

kvant_status allocation_parse(const char *name, const char *json, size_t bytes, const kvcache_shape *shape, kvcache_allocation *out,
                              kvant_error *err)
{
    document *doc;
    *out = (kvcache_allocation){ 0 };
    kvant_status status = document_parse_any(name, json, bytes, &doc, err);
    if (!status)
        status = read_document(doc, shape, out, err);
    document_close(doc);
    return status;
}
