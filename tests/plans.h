/* plans.h - plans of specs on the tiny model and on made vectors, for tests that look at cells and measure nothing.
 * For a group of tests between plans_set_up and plans_tear_down. */
#ifndef KVANT_TESTS_PLANS_H
#define KVANT_TESTS_PLANS_H

#include "harness/experiment/plan_internal.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#include <math.h>

static char *plans_folder, *model_path, *text_path;

typedef struct { spec spec; plan plan; } planned;

static inline kvant_status try_plan(const char *json, planned *p, kvant_error *err)
{
    *p = (planned){ .plan = { 0 } };
    kvant_status status = spec_parse("x.json", json, strlen(json), NULL, 0, &p->spec, err);
    if (!status)
        status = plan_open(&p->spec, NULL, NULL, 2, NULL, &p->plan, err);
    if (status)
        spec_close(&p->spec);
    return status;
}

static inline void make_plan(const char *json, planned *p)
{
    kvant_error err = { "" };
    if (try_plan(json, p, &err))
        fail_msg("%s: %s", json, err.text);
}

static inline void close_plan(planned *p)
{
    plan_close(&p->plan);
    spec_close(&p->spec);
}

/* A spec of perplexity on the tiny model with these further members, without controls. */
static inline char *model_spec(const char *members)
{
    char *json = text_format("{ \"name\": \"t\", \"probe\": \"perplexity\", \"model\": \"%s\", \"data\": \"%s\", \"context\": 64, "
                             "\"controls\": false, %s }", model_path, text_path, members);
    assert_non_null(json);
    return json;
}

static inline void make_model_plan(const char *members, planned *p)
{
    char *json = model_spec(members);
    make_plan(json, p);
    free(json);
}

#define VECTORS "\"name\": \"t\", \"probe\": \"distortion\", \"data\": {\"dataset\": \"synthetic\", \"dim\": 64, \"n\": 128}"

static inline int plans_set_up(void **state)
{
    (void)state;
    plans_folder = scratch_make();
    model_path = in_folder(plans_folder, "tiny.gguf");
    text_path = in_folder(plans_folder, "prose.txt");
    tiny_model_write(model_path, (tiny_options){ .uniform = false });
    write_text(text_path, "prose");
    input_settings(NULL, plans_folder, NULL);
    return 0;
}

static inline int plans_tear_down(void **state)
{
    (void)state;
    free(model_path);
    free(text_path);
    scratch_remove(plans_folder);
    return 0;
}

#endif
