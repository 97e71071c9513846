/* plan.c - `kvant plan`: shows what a spec comes to, before anything is loaded or measured.
 * The table goes to stdout, one cell a line; skips and totals follow. */
#include "harness/experiment/experiment.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 9 };
static const char *const heads[COLUMNS] = { "cell", "label", "probe", "settings", "model", "data", "asked", "stored", "time" };
static const bool right[COLUMNS] = { true, false, false, false, false, false, true, true, true };

/* The probe's parameters that are not at their defaults. */
static void add_settings(text *t, const plan_cell *c)
{
    const kvant_param *params = c->probe->params;
    for (int i = 0, n = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++)
        if (c->args.v[i] != params[i].def) {
            char value[KVANT_VALUE_TEXT];
            kvant_format_arg(params, i, &c->args, value, sizeof value);
            text_add(t, "%s%s=%s", n++ ? " " : "", params[i].name, value);
        }
    if (!t->length)
        text_add(t, "-");
}

static void fill_row(text row[COLUMNS], const plan_cell *c, size_t number)
{
    char duration[32];
    duration_text(c->seconds, duration);
    text_add(&row[0], "%zu", number);
    text_add(&row[1], "%s%s", c->label, c->reference ? " *" : c->control ? " +" : "");
    text_add(&row[2], "%s", c->probe->name);
    add_settings(&row[3], c);
    text_add(&row[4], "%s", c->model ? c->model->input.name : "-");
    text_add(&row[5], "%s", c->data->name);
    text_add(&row[6], "%.2f", c->bits_asked);
    text_add(&row[7], "%.3f", c->bits_stored);
    text_add(&row[8], "%s", c->done ? "done" : duration);
}

static void print_row(const text row[COLUMNS], const int width[COLUMNS])
{
    for (int i = 0; i < COLUMNS; i++)
        printf(i == COLUMNS - 1 ? "%*s\n" : "%*s  ", right[i] ? width[i] : -width[i], row[i].data ? row[i].data : "");
}

static bool print_cells(const plan *p)
{
    text (*rows)[COLUMNS] = calloc(p->n_cells + 1, sizeof *rows);
    int width[COLUMNS] = { 0 };
    bool ok = rows;
    for (size_t i = 0; ok && i <= p->n_cells; i++) {
        if (i)
            fill_row(rows[i], &p->cells[i - 1], i);
        for (int j = 0; j < COLUMNS; j++) {
            if (!i)
                text_add(&rows[i][j], "%s", heads[j]);
            ok = ok && !rows[i][j].failed;
            width[j] = (int)rows[i][j].length > width[j] ? (int)rows[i][j].length : width[j];
        }
    }
    for (size_t i = 0; ok && i <= p->n_cells; i++)
        print_row(rows[i], width);
    for (size_t i = 0; rows && i <= p->n_cells; i++)
        for (int j = 0; j < COLUMNS; j++)
            text_free(&rows[i][j]);
    free(rows);
    return ok;
}

/* Of the cell that takes most, by parts. */
static void print_memory(const plan *p)
{
    const plan_cell *c = p->largest;
    if (!c)
        return;
    const struct { const char *name; double bytes; } parts[] = {
        { "weights", c->memory.weights }, { "activations", c->memory.activations }, { "logits", c->memory.logits },
        { "caches", c->memory.caches }, { "data", c->memory.data },
    };
    char digits[16];
    bytes_text((uint64_t)plan_bytes_sum(&c->memory), digits);
    printf("memory, at most: %s (", digits);
    for (size_t i = 0, n = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].bytes > 0) {
            bytes_text((uint64_t)parts[i].bytes, digits);
            printf("%s%s%s%s %s", n++ ? ", " : "", parts[i].name, i ? "" : " as ", i ? "" : lm_weights_name(c->weights), digits);
        }
    bytes_text(p->available, digits);
    printf("); available: %s\n", p->available ? digits : "not known");
}

static int run(const cli *c)
{
    experiment e;
    int status;
    if (!experiment_open(c, STORE_READ, &e, &status))
        return status;
    const plan *p = &e.plan;
    bool references = false, controls = false;
    for (size_t i = 0; i < p->n_cells; i++) {
        references |= p->cells[i].reference;
        controls |= p->cells[i].control != NULL;
    }
    if (!print_cells(p))
        status = cli_fail(c, KVANT_NOMEM, &(kvant_error){ "no memory for the table" });
    else {
        char duration[32];
        duration_text(p->seconds, duration);
        if (references)
            printf("* the f16 cell that the others of its setting are compared with\n");
        if (controls)
            printf("+ a control; `\"controls\": false` in the spec leaves out those that it does not name\n");
        for (size_t i = 0; i < p->n_skips; i++)
            printf("skipped: %s: %s\n", p->skips[i].cell.label, p->skips[i].reason);
        printf("%zu cell%s in %zu job%s, %zu done; to run: %zu, about %s; skipped: %zu\n", p->n_cells, p->n_cells == 1 ? "" : "s",
               p->n_jobs, p->n_jobs == 1 ? "" : "s", p->n_done, p->n_cells - p->n_done, duration, p->n_skips);
        print_memory(p);
        status = EXIT_DONE;
    }
    experiment_close(&e);
    return cli_finish(status);
}

static const cli_option options[] = {
    OPTION_EXPERIMENT,
    { NULL, NULL, NULL, false },
};

const cli_command command_plan = {
    .name = "plan",
    .arguments = "SPEC.json",
    .min_args = 1,
    .max_args = 1,
    .summary = "show the cells of a spec, what is skipped and why, and an estimate of time and memory",
    .details = "Reads the spec, model headers and data, but no weights. asked and stored are bits per coordinate over keys and values:\n"
               "what the method's name promises, and what the cache takes, f16 parts included. A label names what of a policy is not its\n"
               "default, or varies: sink, window, sliding, raw, pre_rope and others, as `kvant list keys` explains them. The time of a cell\n"
               "comes from finished cells of the store where it has such, and is a rough guess where it has none.",
    .example = "# what would the demo measure with two chunks?\nkvant plan experiments/demo.json --set chunks=2",
    .options = options,
    .run = run,
};
