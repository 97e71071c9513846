/* list.c - `kvant list`: what this program knows: plug-ins, inputs, metrics, and one plug-in's parameters in full.
 * Everything printed comes from the tables that the program itself runs on. */
#include "harness/allocation/allocator.h"
#include "harness/cli.h"
#include "harness/experiment/spec.h"
#include "harness/input/input.h"
#include "harness/probe.h"

#include <math.h>
#include <string.h>

static void print_params(const kvant_param *params)
{
    for (int i = 0; params && i < KVANT_MAX_PARAMS && params[i].name; i++) {
        const kvant_param *p = &params[i];
        char def[64], low[64], high[64];
        if (p->type == KVANT_LIST)
            snprintf(def, sizeof def, "none");
        else
            kvant_format(p, p->def, def, sizeof def);
        printf("%s%-16s  default %-11s ", i ? "" : "parameters:\n", p->name, def);
        if (p->type == KVANT_CHOICE) {
            printf("one of");
            for (int k = 0; p->choices[k]; k++)
                printf(" %s", p->choices[k]);
        } else {
            kvant_format(p, p->min, low, sizeof low);
            kvant_format(p, p->max, high, sizeof high);
            printf("%s %s ... %s", p->type == KVANT_LIST ? "list, e.g. 3+17+64, of integers" : p->type == KVANT_INT ? "integer"
                   : "number", low, high);
        }
        printf("\n%-16s  %s\n", "", p->help);
    }
    if (!params || !params[0].name)
        printf("no parameters\n");
}

static void print_quantizer(const kvant_quantizer *q)
{
    printf("%s: %s\nquantizer; source: %s\n", q->name, q->summary, q->source);
    print_params(q->params);
    if (!q->oracles || !q->oracles[0].input)
        printf("no oracle: only the universal gates hold it\n");
    for (const kvant_oracle *o = q->oracles; o && o->input; o++)
        printf("%s%-10s  d=%-4u  %-38s  %-9s  %.7g +- %.1g  (%s)\n", o == q->oracles ? "oracles:\n" : "", o->input, o->dim, o->args,
               o->metric, o->value, o->tolerance, o->source);
}

static void print_metrics(const kvant_probe *p)
{
    static const char *const better[] = { "lower is better", "", "higher is better" };
    for (const probe_metric *m = p->metrics; m->name; m++)
        printf("%-18s  %-14s  %-10s  %-16s  %s%s\n", m->name, p->name, *m->unit ? m->unit : "-", better[m->better + 1], m->help,
               m->timing ? " (differs from run to run)" : "");
}

static void print_metric_head(void)
{
    printf("%-18s  %-14s  %-10s  %-16s  %s\n", "metric", "probe", "unit", "direction", "meaning");
}

static int list_metrics(void)
{
    print_metric_head();
    for (const kvant_probe *const *p = kvant_probes(); *p; p++)
        print_metrics(*p);
    return EXIT_DONE;
}

static void print_allocator(const kvant_allocator *a)
{
    printf("%s: %s\nallocator; source: %s\n", a->name, a->summary, a->source);
    print_params(a->params);
}

static int list_keys(void)
{
    for (const spec_key *k = spec_keys(); k->name; k++) {
        printf("%-16s  %s", k->name, k->help);
        for (int i = 0; i < SPEC_WORDS && k->words[i]; i++)
            printf(i ? " or %s" : ": %s (default)", k->words[i]);
        printf("\n");
    }
    for (const spec_about *a = spec_about_keys(); a->name; a++)
        printf("%-16s  %s\n", a->name, a->help);
    return EXIT_DONE;
}

static int list_allocators(void)
{
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++) {
        printf("%s", a == kvant_allocators() ? "" : "\n");
        print_allocator(*a);
    }
    return EXIT_DONE;
}

static void print_input(void *user, const input_entry *e)
{
    char size[16];
    (void)user;
    bytes_text(e->bytes, size);
    printf("%-16s  %-8s  %8s  %-8s  %-18s  %s%s%s%s\n", e->name, e->kind, size, e->here ? "here" : "not here", e->licence, e->about,
           *e->terms ? " (terms: " : "", e->terms, *e->terms ? ")" : "");
}

static int list_inputs(const cli *c)
{
    kvant_error err;
    kvant_status status = input_list(print_input, NULL, &err);
    return status ? cli_fail(c, status, &err) : EXIT_DONE;
}

static int list_all(const cli *c)
{
    printf("quantizers\n");
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++)
        printf("%-16s  %s (%s)%s\n", (*q)->name, (*q)->summary, (*q)->source, (*q)->oracles ? "" : " [no oracle]");
    printf("\nallocators\n");
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++)
        printf("%-16s  %s (%s)\n", (*a)->name, (*a)->summary, (*a)->source);
    printf("\ndatasets\n");
    for (const kvant_dataset *const *d = kvant_datasets(); *d; d++)
        printf("%-16s  %s\n", (*d)->name, (*d)->summary);
    printf("\nprobes\n");
    for (const kvant_probe *const *p = kvant_probes(); *p; p++)
        printf("%-16s  %s\n", (*p)->name, (*p)->summary);
    printf("\ninputs\n");
    return list_inputs(c);
}

/* Prints every plug-in of that name. The nearest known name comes from the quantizers, which most look for, then the allocators. */
static int list_name(const cli *c, const char *name)
{
    kvant_error err;
    bool found = false;
    for (const kvant_allocator *const *a = kvant_allocators(); *a; a++)
        if (!strcmp((*a)->name, name)) {
            print_allocator(*a);
            found = true;
        }
    for (const kvant_dataset *const *d = kvant_datasets(); *d; d++)
        if (!strcmp((*d)->name, name)) {
            printf("%s: %s\ndataset of %s\n", name, (*d)->summary, (*d)->kind);
            print_params((*d)->params);
            found = true;
        }
    for (const kvant_probe *const *p = kvant_probes(); *p; p++)
        if (!strcmp((*p)->name, name)) {
            printf("%s: %s\nprobe of%s%s\n", name, (*p)->summary, (*p)->wants_text ? " text" : "",
                   (*p)->wants_vectors ? " vectors" : "");
            print_params((*p)->params);
            printf("metrics:\n");
            print_metric_head();
            print_metrics(*p);
            found = true;
        }
    if (found)
        return EXIT_DONE;
    const kvant_quantizer *q = kvant_find(name, &err);
    kvant_error other;
    if (!q && !strstr(err.text, "did you mean") && !allocator_find(name, &other) && strstr(other.text, "did you mean"))
        err = other;
    if (!q)
        return cli_fail(c, KVANT_INVALID, &err);
    print_quantizer(q);
    return EXIT_DONE;
}

static int run(const cli *c)
{
    int code = EXIT_DONE;
    if (cli_n_args(c) == 0)
        code = list_all(c);
    for (int i = 0; i < cli_n_args(c) && code == EXIT_DONE; i++) {
        if (i)
            printf("\n");
        code = !strcmp(cli_arg(c, i), "metrics") ? list_metrics()
             : !strcmp(cli_arg(c, i), "keys") ? list_keys()
             : !strcmp(cli_arg(c, i), "allocators") ? list_allocators()
             : !strcmp(cli_arg(c, i), "inputs") ? list_inputs(c) : list_name(c, cli_arg(c, i));
    }
    return cli_finish(code);
}

static const cli_option options[] = { { .name = NULL } };

const cli_command command_list = {
    .name = "list", .arguments = "[metrics|keys|allocators|inputs|NAME...]", .min_args = 0, .max_args = -1,
    .summary = "list quantizers, allocators, datasets, probes and inputs, all metrics, or one plug-in's parameters",
    .details = "Without a name: everything there is. `metrics`: what the probes measure, in which unit, and which way is better.\n"
               "`keys`: what a spec may say beside the parameters of its probes.\n"
               "`allocators`: all of them, with their parameters. `inputs`: models and texts, with licences and terms.\n"
               "With the name of a plug-in: its parameters with ranges and defaults, and the values that it must hit.",
    .example = "# parameters and oracles of one quantizer\nkvant list turboquant_mse",
    .options = options, .run = run
};
