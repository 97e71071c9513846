/* test_spec.c - specs: what is read, and that every mistake is refused with its file, line and path.
 * The texts are small on purpose: line 1 opens the object, and a mistake stands where the test says. */
#include "harness/experiment/spec.h"
#include "tests/scratch.h"

#include <math.h>

static kvant_status parse_with(const char *json, const char *const *sets, size_t n, spec *s, kvant_error *err)
{
    return spec_parse("x.json", json, strlen(json), sets, n, s, err);
}

static kvant_status parse(const char *json, spec *s, kvant_error *err) { return parse_with(json, NULL, 0, s, err); }

/* A spec of line 1, `line` on line 2, and what every spec needs on line 3. */
static void refused(const char *line, const char *message)
{
    spec s;
    kvant_error err = { "" };
    char *json = text_format("{ \"name\": \"t\",\n%s,\n\"probe\": \"perplexity\", \"model\": \"m\", \"data\": \"d\" }", line);
    assert_non_null(json);
    kvant_status status = parse(json, &s, &err);
    if (status != KVANT_INVALID || strncmp(err.text, message, strlen(message)))
        fail_msg("%s: status %d: '%s' instead of '%s'", line, (int)status, err.text, message);
    assert_null(s.doc);
    free(json);
}

static void refused_whole(const char *json, const char *message)
{
    spec s;
    kvant_error err = { "" };
    kvant_status status = parse(json, &s, &err);
    if (status != KVANT_INVALID || !strstr(err.text, message))
        fail_msg("%s: status %d: '%s' instead of '%s'", json, (int)status, err.text, message);
}

static void test_reads_axes_in_order(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("\xef\xbb\xbf{ \"name\": \"t\", \"key\": {\"bits\": [2, 3], \"quantizer\": [\"affine\", \"turboquant_mse\"]}, "
                    "\"chunks\": [4, 8], \"probe\": [\"perplexity\", \"needle\"], \"model\": \"a\", \"data\": [\"b\", \"c\"], "
                    "\"depth\": [0, 0.5], \"sink\": 4, \"value\": [\"same\", \"f16\"] }", &s, err));
    static const char *const names[] = { "key", "chunks", "probe", "model", "data", "depth", "sink", "value" };
    static const size_t counts[] = { 4, 2, 2, 1, 2, 2, 1, 2 };
    assert_int_equal(s.n_axes, 8);
    for (size_t i = 0; i < s.n_axes; i++) {
        assert_string_equal(s.axes[i].name, names[i]);
        assert_int_equal(s.axes[i].n, counts[i]);
    }
    /* bits stand first in the object, so they are slowest. */
    const spec_choice *key = s.axes[0].choices;
    static const struct { double bits; const char *quantizer; } keys[] = { { 2, "affine" }, { 2, "turboquant_mse" }, { 3, "affine" },
                                                                           { 3, "turboquant_mse" } };
    for (int i = 0; i < 4; i++) {
        assert_string_equal(key[i].side.quantizer->name, keys[i].quantizer);
        assert_string_equal(key[i].side.quantizer->params[0].name, "bits");
        assert_true(key[i].side.args.v[0] == keys[i].bits);
    }
    assert_null(spec_find(&s, SPEC_VALUE)->choices[0].side.quantizer);
    assert_string_equal(spec_find(&s, SPEC_VALUE)->choices[1].side.quantizer->name, "f16");
    assert_true(spec_find(&s, SPEC_SINK)->choices[0].number == 4);
    assert_null(spec_find(&s, SPEC_VECTOR));
    spec_close(&s);
}

static void test_applies_parameters_to_the_probes_that_have_them(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("{\"name\": \"t\", \"probe\": [\"perplexity\", \"needle\"], \"trials\": 9, \"path\": \"decode\"}", &s, err));
    const kvant_probe *perplexity = s.axes[0].choices[0].probe, *needle = s.axes[0].choices[1].probe;
    const spec_axis *trials = &s.axes[1], *path = &s.axes[2];
    assert_string_equal(trials->name, "trials");
    kvant_args before = kvant_defaults(perplexity->params), args = before;
    assert_ok(spec_apply(&s, trials, trials->choices, perplexity, &args, err));
    assert_memory_equal(&args, &before, sizeof args);
    assert_ok(spec_apply(&s, path, path->choices, perplexity, &args, err));
    assert_memory_not_equal(&args, &before, sizeof args);
    args = kvant_defaults(needle->params);
    assert_ok(spec_apply(&s, trials, trials->choices, needle, &args, err));
    assert_true(args.v[2] == 9);
    spec_close(&s);
}

static void test_reads_data(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": [\"some.npy\", {\"dataset\": \"npy\", \"file\": \"x.npy\", "
                    "\"n\": 5}, {\"dataset\": \"synthetic\", \"dim\": [64, 96]}], \"vector\": [\"f16\", {\"quantizer\": \"affine\"}]}",
                    &s, err));
    const spec_axis *data = spec_find(&s, SPEC_DATA);
    assert_int_equal(data->n, 4);
    assert_string_equal(data->choices[0].name, "some.npy");
    assert_null(data->choices[0].dataset);
    assert_string_equal(data->choices[1].name, "x.npy");
    assert_true(data->choices[1].args.v[0] == 5);
    assert_null(data->choices[3].name);
    assert_string_equal(data->choices[3].dataset->name, "synthetic");
    assert_true(data->choices[3].args.v[1] == 96);
    spec_close(&s);
}

static void test_refuses_with_place(void **state)
{
    (void)state;
    refused("\"key\": {\"quantizer\": \"affine\", \"bit\": 2}", "x.json:2: key.bit: quantizer 'affine' has no parameter of this name, "
            "did you mean `bits`?; its parameters: bits");
    refused("\"key\": {\"quantizer\": \"f16\",\n\n\"bits\": 2}", "x.json:4: key.bits: quantizer 'f16' has no parameter");
    refused("\"key\": {\"quantizer\": [\"affine\", \"f16\"], \"bits\": 2}", "x.json:2: key.bits: quantizer 'f16' has no parameter");
    refused("\"key\": {\"quantiser\": \"affine\"}", "x.json:2: key: must name a `quantizer`");
    refused("\"key\": {\"quantizer\": \"afine\"}", "x.json:2: key.quantizer: quantizer 'afine' is unknown, did you mean 'affine'?");
    refused("\"key\": {\"quantizer\": 3}", "x.json:2: key.quantizer: must be a name in quotes");
    refused("\"key\": {\"quantizer\": {\"a\": 1}}", "x.json:2: key.quantizer: must be a name in quotes");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": \"2\"}", "x.json:2: key.bits: quantizer 'affine' wants an integer here");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": [2, 2.5]}", "x.json:2: key.bits[1]: quantizer 'affine': bits: 2.5 is not");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": [2,\n9]}", "x.json:3: key.bits[1]: quantizer 'affine': bits: 9 is out of range");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": [[2]]}", "x.json:2: key.bits[0]: must be a number or a name");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": true}", "x.json:2: key.bits: quantizer 'affine' wants an integer");
    refused("\"key\": {\"quantizer\": \"qjl\", \"outlier_list\": 3}",
            "x.json:2: key.outlier_list: quantizer 'qjl' wants a list in quotes here, e.g. \"3+17+64\"");
    refused("\"key\": {\"quantizer\": \"qjl\", \"outlier_list\": \"3+4+3\"}", "x.json:2: key.outlier_list: quantizer 'qjl': outlier_list: 3 is given twice");
    refused("\"key\": {\"quantizer\": \"affine\", \"scheme\": 1}", "x.json:2: key.scheme: quantizer 'affine' wants a name in quotes");
    refused("\"key\": {\"quantizer\": \"affine\", \"scheme\": \"minmx\"}", "x.json:2: key.scheme: quantizer 'affine': scheme: value 'minmx'");
    refused("\"key\": [\"f16\", {\"quantizer\": \"affine\",\n\"bitz\": 2}]", "x.json:3: key[1].bitz: quantizer 'affine' has no");
    refused("\"key\": \"same\"", "x.json:2: key: quantizer 'same' is unknown");
    refused("\"key\": 4", "x.json:2: key: must be a name in quotes or an object");
    refused("\"key\": null", "x.json:2: key: must be a name in quotes or an object");
    refused("\"key\": []", "x.json:2: key: an empty array");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": []}", "x.json:2: key.bits: an empty array");
    refused("\"kay\": \"f16\"", "x.json:2: kay: unknown key; did you mean `key`?");
    refused("\"chunsk\": 4", "x.json:2: chunsk: unknown key; did you mean `chunks`?");
    refused("\"qqqqqqq\": 4", "x.json:2: qqqqqqq: unknown key; `kvant list keys`");
    refused("\"trials\": 4", "x.json:2: trials: is a parameter of probe 'needle', which this spec does not run");
    refused("\"chunks\": 0", "x.json:2: chunks: probe 'perplexity': chunks: 0 is out of range");
    refused("\"chunks\": [4, \"8\"]", "x.json:2: chunks[1]: probe 'perplexity' wants an integer");
    refused("\"chunks\": {\"a\": 1}", "x.json:2: chunks: must be a number or a name");
    refused("\"path\": \"prefil\"", "x.json:2: path: probe 'perplexity': path: value 'prefil'");
    refused("\"chunks\": 9007199254740993", "x.json:2: chunks: numbers must be finite and less than 2^53");
    refused("\"chunks\": -9007199254740992", "x.json:2: chunks: numbers must be finite");
    refused("\"chunks\": 1e999", "x.json:2: chunks: numbers must be finite");
    refused("\"chunks\": 4,\n\"chunks\": 8", "x.json:3: chunks: this key is there twice");
    refused("\"key\": {\"quantizer\": \"affine\", \"bits\": 2,\n\"bits\": 3}", "x.json:3: key.bits: this key is there twice");
    refused("\"probe\": \"needle\"", "x.json:3: probe: this key is there twice");
    refused("\"sink\": -1", "x.json:2: sink: must be an integer from 0 to");
    refused("\"sink\": 1.5", "x.json:2: sink: must be an integer");
    refused("\"window\": \"4\"", "x.json:2: window: must be an integer");
    refused("\"seed\": 4294967296", "x.json:2: seed: must be an integer from 0 to 4294967295");
    refused("\"seed_rule\": \"layer\"", "x.json:2: seed_rule: must be \"shared\" or \"per_layer\"");
    refused("\"prefill\": \"batch\"", "x.json:2: prefill: must be \"packed\" or \"raw\"");
    refused("\"key_stage\": [\"pre_rope\", \"pre\"]", "x.json:2: key_stage[1]: must be \"post_rope\" or \"pre_rope\"");
    refused("\"sliding\": 1", "x.json:2: sliding: must be a name in quotes");
    refused("\"isa\": \"avx9\"", "x.json:2: isa: 'avx9' is the target of no kernel");
    refused("\"isa\": 1", "x.json:2: isa: must be a name in quotes");
    refused("\"vector\": {\"quantizer\": \"f16\", \"x\\u0000y\": 1}", "x.json:2: \\u0000 is not allowed");
}

static void test_refuses_what_the_whole_lacks(void **state)
{
    (void)state;
    refused_whole("", "x.json:1: not valid JSON at the end of the line");
    refused_whole("[]", "x.json:1: must be an object");
    refused_whole("{}\n\n x", "x.json:3: not valid JSON at `x`");
    refused_whole("{ \"name\": \"t\",\n \"probe\": perplexity }", "x.json:2: not valid JSON at `perplexity }`");
    refused_whole("{ \"probe\": \"perplexity\" }", "x.json:1: `name` is missing");
    refused_whole("{ \"name\": \"t\" }", "x.json:1: `probe` is missing");
    refused_whole("{ \"name\": \"t\", \"probe\": [] }", "x.json:1: probe: an empty array");
    refused_whole("{ \"name\": \"t\", \"probe\": 3 }", "x.json:1: probe: must be a name in quotes");
    refused_whole("{ \"name\": \"t\",\n\"probe\": [\"perplexity\",\n \"neele\"] }", "x.json:3: probe[1]: probe 'neele' is unknown, did you "
                  "mean 'needle'?");
    refused_whole("{ \"name\": \"a/b\", \"probe\": \"needle\" }", "x.json:1: name: must be 1 to 64 letters");
    refused_whole("{ \"name\": \"..\", \"probe\": \"needle\" }", "x.json:1: name: must be");
    refused_whole("{ \"name\": 4, \"probe\": \"needle\" }", "x.json:1: name: must be");
}

static void test_refuses_wrong_data(void **state)
{
    (void)state;
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dataset\": \"synthetik\"}}", "data.dataset: dataset 'synthetik'");
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dim\": 64}}", "data: must name a `dataset`");
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dataset\": \"npy\"}}", "data: dataset 'npy' reads a file");
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dataset\": \"synthetic\", \"file\": \"x\"}}", "makes its own");
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dataset\": \"synthetic\", \"dims\": 64}}",
                  "data.dims: dataset 'synthetic' has no parameter of this name, did you mean `dim`?");
    refused_whole("{\"name\": \"t\", \"probe\": \"distortion\", \"data\": \"\"}", "data: must be a name or a path");
}

static void test_checks_expectations(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("{\"name\": \"t\", \"probe\": \"needle\", \"expect\": [{\"where\": {\"depth\": 0.5, \"key\": \"f16\"}, \"metric\": \"m\", "
                    "\"value\": -1, \"relative_tolerance\": 0.1, \"sigma\": 4.5, \"source\": \"a paper\"}, {\"metric\": \"m\", \"value\": 1, "
                    "\"sigma\": 0}]}", &s, err));
    assert_int_equal(s.n_axes, 1);
    spec_close(&s);
    refused("\"expect\": 3", "x.json:2: expect: must be an array of rows");
    refused("\"expect\": [3]", "x.json:2: expect[0]: must be an object");
    refused("\"expect\": [{\"metric\": \"m\", \"value\": 1}]", "x.json:2: expect[0]: `tolerance` is missing, or `sigma`, how many");
    refused("\"expect\": [{\"sigma\": -1}]", "x.json:2: expect[0].sigma: must be a number, 0 or more");
    refused("\"expect\": [{\"value\": 1, \"tolerance\": 1}]", "x.json:2: expect[0]: `metric` is missing");
    refused("\"expect\": [{\"metric\": \"m\", \"tolerance\": 1}]", "x.json:2: expect[0]: `value` is missing");
    refused("\"expect\": [{\"metric\": 1}]", "x.json:2: expect[0].metric: must be a text");
    refused("\"expect\": [{\"value\": \"1\"}]", "x.json:2: expect[0].value: must be a number");
    refused("\"expect\": [{\"tolerance\": -1}]", "x.json:2: expect[0].tolerance: must be a number, 0 or more");
    refused("\"expect\": [{\"tolerance\": 1,\n\"relative_tolerance\": 1}]", "x.json:3: expect[0].relative_tolerance: a row has one");
    refused("\"expect\": [{\"where\": 1}]", "x.json:2: expect[0].where: must be an object");
    refused("\"expect\": [{\"where\": {\"a\": [1]}}]", "x.json:2: expect[0].where.a: must be a number or a name");
    refused("\"expect\": [{\"metrik\": \"m\"}]", "x.json:2: expect[0].metrik: unknown key; did you mean `metric`?");
}

/* Pairs of key and value as one axis. */
static void test_reads_caches(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("{\"name\": \"t\", \"probe\": \"perplexity\", \"cache\": [\"f16\", {\"quantizer\": \"affine\", \"bits\": [2, 3]}, "
                    "{\"key\": [\"q8_0\", {\"quantizer\": \"affine\", \"bits\": 5}], \"value\": [\"same\", {\"bits\": [6, 7], \"quantizer\": "
                    "\"affine\"}]}, {\"key\": \"q4_0\"}]}", &s, err));
    static const struct { const char *key, *value; double key_bits, value_bits; } expected[] = {
        { "f16", "f16", 0, 0 }, { "affine", "affine", 2, 2 }, { "affine", "affine", 3, 3 }, { "q8_0", "q8_0", 0, 0 },
        { "q8_0", "affine", 0, 6 }, { "q8_0", "affine", 0, 7 }, { "affine", "affine", 5, 5 }, { "affine", "affine", 5, 6 },
        { "affine", "affine", 5, 7 }, { "q4_0", "q4_0", 0, 0 },
    };
    const spec_axis *axis = spec_find(&s, SPEC_CACHE);
    assert_int_equal(axis->n, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < axis->n; i++) {
        const spec_choice *c = &axis->choices[i];
        assert_string_equal(c->side.quantizer->name, expected[i].key);
        assert_string_equal(c->value.quantizer->name, expected[i].value);
        assert_true(!expected[i].key_bits || c->side.args.v[0] == expected[i].key_bits);
        assert_true(!expected[i].value_bits || c->value.args.v[0] == expected[i].value_bits);
    }
    spec_close(&s);
    refused("\"cache\": {\"value\": \"f16\"}", "x.json:2: cache: must be a quantizer, or a pair that says its `key`");
    refused("\"cache\": [\"f16\",\n{\"key\": \"f16\", \"sink\": 4}]", "x.json:3: cache[1].sink: unknown key; a pair has");
    refused("\"cache\": {\"key\": {\"quantizer\": \"affine\", \"bit\": 2}}", "x.json:2: cache.key.bit: quantizer 'affine' has no parameter");
    refused("\"cache\": {\"key\": \"same\"}", "x.json:2: cache.key: ");
    refused("\"cache\": 4", "x.json:2: cache: must be a name in quotes or an object");
    refused("\"cache\": \"f16\",\n\"key\": \"f16\"", "x.json:3: key: `cache` stands for `key` and `value`");
    refused("\"value\": \"f16\", \"cache\": \"f16\"", "x.json:2: cache: `cache` stands for `key` and `value`");
}

static void test_checks_questions(void **state)
{
    (void)state;
    spec s;
    assert_ok(parse("{\"name\": \"t\", \"probe\": \"needle\", \"questions\": [{\"name\": \"a\", \"question\": \"A?\", \"metric\": [\"m\", "
                    "\"n\"], \"compare\": [[\"x\", \"key=y\"]]}, {\"name\": \"b\", \"correlate\": [[\"m\", \"n\"], [\"m\", \"o\"]]}]}", &s, err));
    assert_int_equal(s.n_axes, 1);
    spec_close(&s);
    refused("\"questions\": {}", "x.json:2: questions: must be an array");
    refused("\"questions\": [3]", "x.json:2: questions[0]: must be an object");
    refused("\"questions\": [{\"compare\": [[\"a\", \"b\"]]}]", "x.json:2: questions[0]: `name` is missing");
    refused("\"questions\": [{\"name\": \"\"}]", "x.json:2: questions[0].name: must be a text");
    refused("\"questions\": [{\"name\": \"a\"}]", "x.json:2: questions[0]: must have `compare`");
    refused("\"questions\": [{\"name\": \"a\", \"compare\": [[\"a\", \"b\"]], \"correlate\": [[\"a\", \"b\"]]}]",
            "x.json:2: questions[0]: must have `compare`");
    refused("\"questions\": [{\"name\": \"a\", \"compare\": \"a\"}]", "x.json:2: questions[0].compare: must be an array of pairs of cells");
    refused("\"questions\": [{\"name\": \"a\", \"compare\": [[\"a\"]]}]", "x.json:2: questions[0].compare[0]: must be a pair of cells");
    refused("\"questions\": [{\"name\": \"a\", \"compare\": [[\"a\", 3]]}]", "x.json:2: questions[0].compare[0]: must be a pair of cells");
    refused("\"questions\": [{\"name\": \"a\", \"correlate\": [[\"a\", \"b\", \"c\"]]}]", "x.json:2: questions[0].correlate[0]: must be a pair of "
            "metrics");
    refused("\"questions\": [{\"name\": \"a\", \"metric\": 3, \"compare\": [[\"a\", \"b\"]]}]", "x.json:2: questions[0].metric: must be a metric");
    refused("\"questions\": [{\"name\": \"a\", \"metric\": \"m\", \"correlate\": [[\"a\", \"b\"]]}]", "x.json:2: questions[0]: `metric` goes with");
    refused("\"questions\": [{\"name\": \"a\", \"compared\": 3}]", "x.json:2: questions[0].compared: unknown key; did you mean `compare`?");
    refused("\"questions\": [{\"name\": \"a\", \"compare\": [[\"a\", \"b\"]]},\n{\"name\": \"a\", \"compare\": [[\"a\", \"c\"]]}]",
            "x.json:3: questions[1]: two questions of one name");
}

static void test_overrides(void **state)
{
    (void)state;
    spec s;
    static const char json[] = "{ \"name\": \"t\", \"probe\": \"perplexity\", \"chunks\": 4, \"key\": {\"quantizer\": \"affine\", "
                               "\"bits\": 2}, \"value\": [\"f16\", {\"quantizer\": \"affine\"}] }";
    static const char *const sets[] = { "chunks=[1, 2]", "key.bits=[3,4]", "path=decode", "value.1.bits=5", "model=a=b", "name=u" };
    assert_ok(parse_with(json, sets, 6, &s, err));
    assert_string_equal(s.name, "u");
    assert_string_equal(s.axes[1].name, "chunks");         /* keeps its place */
    assert_int_equal(s.axes[1].n, 2);
    assert_true(spec_find(&s, SPEC_KEY)->choices[1].side.args.v[0] == 4);
    assert_true(spec_find(&s, SPEC_VALUE)->choices[1].side.args.v[0] == 5);
    assert_string_equal(spec_find(&s, SPEC_MODEL)->choices[0].name, "a=b");
    assert_non_null(strstr(s.json, "\"decode\""));
    spec_close(&s);

    static const struct { const char *set, *message; } wrong[] = {
        { "chunks", "must be KEY=VALUE" }, { "=4", "must be KEY=VALUE" }, { "chunks=", "neither JSON nor a bare word" },
        { "chunks=[1", "neither JSON nor a bare word" }, { "chunks={\"a\":", "neither JSON" },
        { "chunsk=4", "x.json with --set: chunsk: unknown key; did you mean `chunks`?" },
        { "key.bits=9", "x.json with --set: key.bits: quantizer 'affine': bits: 9 is out of range" },
        { "key.bit=3", "x.json with --set: key.bit: quantizer 'affine' has no parameter" },
        { "chunks=many", "x.json with --set: chunks: probe 'perplexity' wants an integer" },
        { "chunks=[]", "x.json with --set: chunks: an empty array" }, { "chunks=1e400", "x.json with --set: chunks: numbers must be" },
        { "key={\"quantizer\":\"f16\",\"quantizer\":\"f32\"}", "x.json with --set: key.quantizer: this key is there twice" },
        { "kay.bits=3", "there is no 'kay'" }, { "value.bits=3", "an array, so say which one" }, { "value.7=f16", "an array" },
        { "value.-1=f16", "an array" }, { "chunks.a=3", "neither an object nor an array" }, { "value.1.bits.x=3", "there is no 'bits'" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        kvant_error err = { "" };
        kvant_status status = parse_with(json, &wrong[i].set, 1, &s, &err);
        if (status != KVANT_INVALID || !strstr(err.text, wrong[i].message))
            fail_msg("%s: status %d: '%s' instead of '%s'", wrong[i].set, (int)status, err.text, wrong[i].message);
    }
    /* A line of the file is still told for what the file says. */
    static const char *const other = "chunks=3";
    kvant_error err;
    assert_int_equal(parse_with("{ \"name\": \"t\", \"probe\": \"perplexity\",\n\"chunks\": 4,\n\"sink\": -1 }", &other, 1, &s, &err),
                     KVANT_INVALID);
    assert_non_null(strstr(err.text, "x.json:3: sink: must be"));
}

static void test_refuses_hostile_texts(void **state)
{
    (void)state;
    spec s;
    kvant_error err;
    size_t n = DOCUMENT_BYTES + 1;
    char *json = malloc(n + 1);
    assert_non_null(json);
    memset(json, '[', n);
    json[n] = '\0';
    assert_int_equal(spec_parse("x.json", json, n, NULL, 0, &s, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "more than"));
    assert_int_equal(spec_parse("x.json", json, 1000, NULL, 0, &s, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "x.json:1: nested deeper than 16 levels"));
    assert_int_equal(spec_parse("x.json", "{\"name\": \"t\0\"}", 13, NULL, 0, &s, &err), KVANT_INVALID);
    assert_non_null(strstr(err.text, "NUL byte"));

    text many = { 0 };
    text_add(&many, "{");
    for (int i = 0; i <= DOCUMENT_KEYS; i++)
        text_add(&many, "\"k%d\": 1,", i);
    text_add(&many, "\"name\": \"t\"}");
    refused_whole(many.data, "more than 256 keys");
    text_free(&many);

    /* One axis that is too long. */
    text_add(&many, "{\"name\": \"t\", \"probe\": \"distortion\", \"vector\": {\"quantizer\": \"affine\", \"bits\": [");
    for (int i = 0; i < 110000; i++)
        text_add(&many, "%s1", i ? "," : "");
    text_add(&many, "]}}");
    refused_whole(many.data, "more than 100000 values on one axis");
    text_free(&many);
    free(json);
}

static void test_reads_files(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "s.json");
    spec s;
    write_text(path, "{ \"name\": \"t\",\n\"probe\": \"needle\",\n\"trails\": 3 }");
    assert_fails(spec_read(path, NULL, 0, &s, err), KVANT_INVALID, "s.json:3: trails: unknown key; did you mean `trials`?");
    assert_fails(spec_read(folder, NULL, 0, &s, err), KVANT_IO, folder);
    char *absent = in_folder(folder, "absent.json");
    assert_fails(spec_read(absent, NULL, 0, &s, err), KVANT_IO, "absent.json");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)1 << 40), 0);       /* sparse: a terabyte that must not be read */
    fclose(f);
    assert_fails(spec_read(path, NULL, 0, &s, err), KVANT_INVALID, "more than 1048576 bytes");
    free(absent);
    free(path);
    scratch_remove(folder);
}

static void test_numbers_read_back(void **state)
{
    (void)state;
    static const double values[] = { 0, 1, -1, 0.1, 1.0 / 3, 123456789012345, 9007199254740991, 1e-300, 5e-324, 0.5, 2.5e10 };
    char digits[32];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        number_text(values[i], digits);
        assert_true(strtod(digits, NULL) == values[i]);
    }
    number_text(-0.0, digits);
    assert_string_equal(digits, "0");
    number_text(0.1, digits);
    assert_string_equal(digits, "0.1");
    number_text(4, digits);
    assert_string_equal(digits, "4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_axes_in_order),
        cmocka_unit_test(test_applies_parameters_to_the_probes_that_have_them),
        cmocka_unit_test(test_reads_data),
        cmocka_unit_test(test_refuses_with_place),
        cmocka_unit_test(test_refuses_what_the_whole_lacks),
        cmocka_unit_test(test_refuses_wrong_data),
        cmocka_unit_test(test_checks_expectations),
        cmocka_unit_test(test_reads_caches),
        cmocka_unit_test(test_checks_questions),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_refuses_hostile_texts),
        cmocka_unit_test(test_reads_files),
        cmocka_unit_test(test_numbers_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
