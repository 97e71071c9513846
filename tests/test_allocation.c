/* test_allocation.c - allocation files: both forms read back as written, and every slip is refused with file, line and path.
 * What must be refused stands here as text, as a user would have written it. */
#include "harness/allocation/allocation.h"
#include "tests/scratch.h"

#include <math.h>

static const kvcache_shape shape = { .n_layer = 3, .n_kv_head = 2, .head_dim = 64 };

static kvcache_side side_of(const char *name, const char *args)
{
    kvant_error err = { "" };
    kvcache_side side = { .quantizer = kvant_find(name, &err) };
    if (!side.quantizer)
        fail_msg("%s", err.text);
    side.args = kvant_defaults(side.quantizer->params);
    if (kvant_parse(side.quantizer->params, args, &side.args, &err))
        fail_msg("%s", err.text);
    return side;
}

static void same_sides(const kvcache_side *a, const kvcache_side *b)
{
    assert_string_equal(a->quantizer->name, b->quantizer->name);
    assert_memory_equal(a->args.list, b->args.list, sizeof a->args.list);
    for (int i = 0; a->quantizer->params && a->quantizer->params[i].name; i++)
        assert_true(a->args.v[i] == b->args.v[i]);
}

static kvcache_allocation filled(const kvcache_side *sides, size_t n)
{
    kvcache_allocation a = { shape.n_layer, shape.n_kv_head, calloc(shape.n_layer * shape.n_kv_head * 2, sizeof *a.side) };
    assert_non_null(a.side);
    for (size_t i = 0; i < shape.n_layer * shape.n_kv_head * 2; i++)
        a.side[i] = sides[i % n];
    return a;
}

static kvcache_allocation parsed(const char *json)
{
    kvcache_allocation a;
    assert_ok(allocation_parse("a.json", json, strlen(json), &shape, &a, err));
    return a;
}

static void refused_as(kvant_status wanted, const char *json, const char *why)
{
    kvcache_allocation a;
    kvant_error err = { "" };
    const kvant_status status = allocation_parse("a.json", json, strlen(json), &shape, &a, &err);
    if (status != wanted || strncmp(err.text, "a.json:", 7) || !strstr(err.text, why))
        fail_msg("status %d: '%s' instead of '%s', for %s", (int)status, err.text, why, json);
    assert_null(a.side);
}

static void refused(const char *json, const char *why) { refused_as(KVANT_INVALID, json, why); }

/* ---- Our own ------------------------------------------------------------------------------------------ */

static void written_files_read_back(void **state)
{
    (void)state;
    const kvcache_side sides[] = { side_of("turboquant_mse", "bits=3,rotation=hadamard"), side_of("affine", "bits=2,group_size=32"),
                                   side_of("f16", ""), side_of("turboquant_mse", "bits=2"), side_of("q8_0", "") };
    static const char *const provenance[][2] = { { "allocator", "exact" }, { "text", "a \"quoted\"\nname" } };
    char *folder = scratch_make(), *path = in_folder(folder, "a.json");
    for (size_t n = 1; n <= 5; n++) {
        kvcache_allocation a = filled(sides, n), b;
        const allocation_record record = { n > 1 ? "m\\odel" : NULL, NULL, 2.5, n % 2, provenance, n > 2 ? 2 : 0 };
        text out = { 0 };
        assert_ok(allocation_write(&a, &shape, &record, &out, err));
        assert_false(out.failed);
        assert_ok(file_write(path, out.data, out.length, err));
        assert_ok(allocation_read(path, &shape, &b, err));
        assert_int_equal(b.n_layer, shape.n_layer);
        assert_int_equal(b.n_kv_head, shape.n_kv_head);
        for (size_t i = 0; i < shape.n_layer * shape.n_kv_head * 2; i++)
            same_sides(&a.side[i], &b.side[i]);
        text_free(&out);
        allocation_free(&a);
        allocation_free(&b);
    }
    free(path);
    scratch_remove(folder);
}

/* affine at 4 bits in groups of 64 stores 4.5, at 2 bits in groups of 32 it stores 3. */
static void averages_are_counted(void **state)
{
    (void)state;
    const kvcache_side sides[] = { side_of("affine", "bits=4"), side_of("affine", "bits=2,group_size=32") };
    kvcache_allocation a = filled(sides, 2);
    allocation_bits bits;
    assert_ok(allocation_average(&a, &shape, &bits, err));
    assert_true(fabs(bits.asked - 3) <= 1e-12 && fabs(bits.stored - 3.75) <= 1e-12);
    text out = { 0 };
    assert_ok(allocation_write(&a, &shape, &(allocation_record) { .budget = 3 }, &out, err));
    assert_non_null(strstr(out.data, "\"budget\": 3, \"budget_bits\": \"asked\", \"bits_asked\": 3, \"bits_stored\": 3.75"));
    text_free(&out);
    const kvcache_shape small = { .n_layer = 3, .n_kv_head = 2, .head_dim = 48 };
    assert_fails(allocation_average(&a, &small, &bits, err), KVANT_SKIP, "affine");
    allocation_free(&a);
}

#define MODEL "\"model\": {\"n_layer\": 3, \"n_kv_head\": 2, \"head_dim\": 64}"
#define HEAD "{\n\"kvant_allocation\": 1, " MODEL ",\n"
#define REST "{\"layer\": 1, \"key\": \"f16\", \"value\": \"same\"},\n{\"layer\": 2, \"key\": \"f16\", \"value\": \"same\"}]}"

static void entries_by_layer_head_and_side(void **state)
{
    (void)state;
    kvcache_allocation a = parsed(HEAD "\"groups\": [\n{\"layer\": 0, \"head\": 1, \"value\": \"q4_0\"},\n"
                                       "{\"layer\": 0, \"head\": 1, \"key\": {\"quantizer\": \"affine\", \"bits\": 2}},\n"
                                       "{\"layer\": 0, \"head\": 0, \"key\": \"q8_0\", \"value\": \"same\"},\n" REST);
    static const char *const names[] = { "q8_0", "q8_0", "affine", "q4_0", "f16", "f16" };
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(a.side[i].quantizer->name, names[i]);
    assert_true(a.side[2].args.v[0] == 2);
    allocation_free(&a);
}

static void slips_are_refused_with_their_place(void **state)
{
    (void)state;
    refused("5", "a.json:1: must be an object, {...}, or an array");
    refused("{}", "`kvant_allocation` is missing");
    refused("{\"kvant_allocation\": 2, " MODEL ", \"groups\": [" REST, "kvant_allocation: must be the version of this form");
    refused("{\"kvant_allocation\": 1, \"groups\": [" REST, "`model` is missing");
    refused("{\"kvant_allocation\": 1, " MODEL "}", "`groups` is missing");
    refused_as(KVANT_SKIP, "{\"kvant_allocation\": 1, \"model\": {\"n_layer\": 30, \"n_kv_head\": 2, \"head_dim\": 64}, \"groups\": [" REST,
               "model.n_layer: is 30, and the model's is 3");
    refused("{\"kvant_allocation\": 1, \"model\": {\"n_layer\": 3, \"n_kv_head\": 2}, \"groups\": [" REST, "`head_dim` is missing");
    refused("{\"kvant_allocation\": 1, \"model\": {\"n_layers\": 3}, \"groups\": [" REST, "did you mean `n_layer`?");
    refused(HEAD "\"group\": []}", "a.json:3: group: an empty array");
    refused(HEAD "\"group\": 1}", "a.json:3: group: unknown key; did you mean `groups`?");
    refused(HEAD "\"groups\": {}}", "a.json:3: groups: must be an array");
    refused(HEAD "\"groups\": [7]}", "a.json:3: groups[0]: must be an object {layer, head, key, value}");
    refused(HEAD "\"groups\": [\n" REST, "a.json:3: groups: layer 0, head 0: nothing is said of its keys; add an entry for it");
    refused(HEAD "\"groups\": [\n{\"layer\": 0, \"key\": \"f16\"},\n" REST, "layer 0, head 0: nothing is said of its values");
    refused(HEAD "\"groups\": [\n{\"layer\": 1, \"key\": \"f16\"},\n" REST, "a.json:5: groups[1].key: layer 1, head 0: its keys are given "
                 "twice");
    refused(HEAD "\"groups\": [\n{\"layer\": 3, \"key\": \"f16\"}]}", "a.json:4: groups[0].layer: must be a layer of the model, an integer "
                 "from 0 to 2");
    refused(HEAD "\"groups\": [{\"layer\": 1.5, \"key\": \"f16\"}]}", "groups[0].layer: must be a layer");
    refused(HEAD "\"groups\": [{\"layer\": -1, \"key\": \"f16\"}]}", "groups[0].layer: must be a layer");
    refused(HEAD "\"groups\": [{\"layer\": \"1\", \"key\": \"f16\"}]}", "groups[0].layer: must be a layer");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"head\": 2, \"key\": \"f16\"}]}", "groups[0].head: must be a KV head");
    refused(HEAD "\"groups\": [{\"layer\": 1}]}", "groups[0]: `key` or `value` is missing");
    refused(HEAD "\"groups\": [{\"key\": \"f16\"}]}", "groups[0]: `layer` is missing");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"keys\": \"f16\"}]}", "groups[0].keys: unknown key; did you mean `key`?");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": 4}]}", "groups[0].key: must be a quantizer's name in quotes");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": {\"bits\": 4}}]}", "groups[0].key: must be a quantizer's name");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": \"afine\"}]}", "groups[0].key: quantizer 'afine' is unknown, did you mean 'affine'?");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"value\": \"same\"}]}", "groups[0].value: \"same\" means this entry's `key`");
    refused(HEAD "\"groups\": [{\"layer\": 1,\n\"key\": {\"quantizer\": \"affine\", \"bits\": 9}}]}", "a.json:4: groups[0].key.bits: ");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": {\"quantizer\": \"affine\", \"bit\": 4}}]}", "did you mean `bits`?");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": {\"quantizer\": \"affine\", \"bits\": [4]}}]}", "wants an integer here");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"key\": {\"quantizer\": \"affine\", \"group_size\": 48}}]}", "groups[0].key: affine");
    refused(HEAD "\"groups\": [{\"layer\": 1, \"layer\": 2, \"key\": \"f16\"}]}", "this key is there twice");
    refused(HEAD "\"budget\": -1, \"groups\": [" REST, "budget: must be a number above 0");
    refused(HEAD "\"budget_bits\": \"storde\", \"groups\": [" REST, "budget_bits: must be \"asked\" or \"stored\"");
    refused(HEAD "\"provenance\": {\"a\": {}}, \"groups\": [" REST, "provenance.a: must be a number or a text");
    refused(HEAD "\"bits_stored\": 15, \"groups\": [{\"layer\": 0, \"key\": \"f16\", \"value\": \"same\"},\n" REST,
            "bits_stored: the groups come to 16; correct or remove this");
    refused("{\"kvant_allocation\": 1", "not valid JSON");
}

/* ---- mlx-optiq's -------------------------------------------------------------------------------------- */

#define OPTIQ(bits) "{\"layer_idx\": 1, \"bits\": " bits ", \"group_size\": 64},\n{\"layer_idx\": 2, \"bits\": 4, \"group_size\": 64}]"

static void optiq_files_are_read_and_written(void **state)
{
    (void)state;
    kvcache_allocation a = parsed("[\n{\"layer_idx\": 0, \"bits\": 8, \"group_size\": 32},\n" OPTIQ("3"));
    const kvcache_side first = side_of("affine", "bits=8,group_size=32,scheme=mlx"), second = side_of("affine", "bits=3,scheme=mlx");
    for (size_t i = 0; i < 4; i++) {
        same_sides(&a.side[i], &first);
        same_sides(&a.side[4 + i], &second);
    }
    text out = { 0 };
    assert_ok(allocation_write_optiq(&a, &out, err));
    assert_string_equal(out.data, "[\n  {\"layer_idx\": 0, \"bits\": 8, \"group_size\": 32},\n  {\"layer_idx\": 1, \"bits\": 3, \"group_size\": 64},\n"
                                  "  {\"layer_idx\": 2, \"bits\": 4, \"group_size\": 64}\n]\n");
    kvcache_allocation again = parsed(out.data);
    for (size_t i = 0; i < shape.n_layer * shape.n_kv_head * 2; i++)
        same_sides(&a.side[i], &again.side[i]);
    text_free(&out);
    allocation_free(&a);
    allocation_free(&again);
    a = parsed("[\n{\"layer_idx\": 0, \"bits\": 16, \"group_size\": 64},\n" OPTIQ("4"));
    assert_string_equal(a.side[0].quantizer->name, "f16");
    assert_fails(allocation_write_optiq(&a, &out, err), KVANT_INVALID, "layer 0: kv_config.json means affine");
    text_free(&out);
    allocation_free(&a);
}

static void optiq_cannot_say_everything(void **state)
{
    (void)state;
    const kvcache_side mlx = side_of("affine", "scheme=mlx"), three = side_of("affine", "bits=3,scheme=mlx");
    const struct { kvcache_side sides[4]; const char *why; } wrong[] = {
        { { mlx, three, mlx, three }, "layer 0: kv_config.json has one entry for all heads, keys and values" },
        { { mlx, mlx, three, three }, "layer 0: kv_config.json has one entry" },
        { { side_of("affine", "scheme=minmax"), side_of("affine", ""), side_of("affine", ""), side_of("affine", "") }, "affine with scheme=mlx" },
        { { side_of("affine", "bits=7,scheme=mlx"), side_of("affine", "bits=7,scheme=mlx"), side_of("affine", "bits=7,scheme=mlx"),
            side_of("affine", "bits=7,scheme=mlx") }, "bits 2, 3, 4, 5, 6 or 8" },
        { { side_of("q8_0", ""), side_of("q8_0", ""), side_of("q8_0", ""), side_of("q8_0", "") }, "another quantizer (q8_0)" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kvcache_allocation a = filled(wrong[i].sides, 4);
        text out = { 0 };
        assert_fails(allocation_write_optiq(&a, &out, err), KVANT_INVALID, wrong[i].why);
        text_free(&out);
        allocation_free(&a);
    }
}

static void optiq_slips_are_refused(void **state)
{
    (void)state;
    refused("[]", "an empty array");
    refused("[\n" OPTIQ("4"), "layer 0, head 0: nothing is said of its keys; mlx-optiq would leave it at full precision");
    refused("[\n{\"layer_idx\": 1, \"bits\": 4, \"group_size\": 64},\n" OPTIQ("4"), "a.json:3: [1]: layer 1, head 0: its keys are given "
            "twice");
    refused("[\n{\"layer_idx\": 3, \"bits\": 4, \"group_size\": 64},\n" OPTIQ("4"), "a.json:2: [0].layer_idx: must be a layer of the model");
    refused("[\n" OPTIQ("7"), "a.json:2: [0].bits: must be 2, 3, 4, 5, 6 or 8, or 16 for f16");
    refused("[\n" OPTIQ("\"4\""), "[0].bits: must be a number");
    refused("[{\"layer_idx\": 0, \"bits\": 4, \"group_size\": 48}]", "[0].group_size: must be 32, 64 or 128");
    refused("[{\"layer_idx\": 0, \"bits\": 4, \"group_size\": 128}]", "[0]: affine");
    refused("[{\"layer_idx\": 0, \"bits\": 4}]", "[0]: `group_size` is missing");
    refused("[{\"layer_idx\": 0, \"bits\": 4, \"groupsize\": 64}]", "[0].groupsize: unknown key; did you mean `group_size`?");
    refused("[4]", "[0]: must be an object {layer_idx, bits, group_size}");
}

static void missing_files(void **state)
{
    (void)state;
    kvcache_allocation a;
    assert_fails(allocation_read("no/such/file.json", &shape, &a, err), KVANT_IO, "no/such/file.json");
    assert_null(a.side);
    allocation_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_read_back), cmocka_unit_test(averages_are_counted),
        cmocka_unit_test(entries_by_layer_head_and_side), cmocka_unit_test(slips_are_refused_with_their_place),
        cmocka_unit_test(optiq_files_are_read_and_written), cmocka_unit_test(optiq_cannot_say_everything),
        cmocka_unit_test(optiq_slips_are_refused), cmocka_unit_test(missing_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
