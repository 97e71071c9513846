/* experts.c - a mixture of experts: which of its MLPs each row takes, and the rows of one expert multiplied together.
 * Rows are put in order of their experts, so that every expert's weights are read once for a whole batch. */
#include "harness/lm/pass.h"
#include "harness/util.h"

#include <math.h>
#include <string.h>

/* The n_used experts that are worth most, the best first and of equal ones the lower; each at most once, whatever the values are. */
static void choose(const float *worth, uint32_t n_expert, uint32_t n_used, lm_route *routes)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_expert; i++) {
        if (n == n_used && !(worth[i] > routes[n - 1].weight))
            continue;
        uint32_t at = n < n_used ? n++ : n - 1;
        for (; at > 0 && worth[i] > routes[at - 1].weight; at--)
            routes[at] = routes[at - 1];
        routes[at] = (lm_route){ i, worth[i] };
    }
}

/* Softmax over the chosen ones. That over all experts, scaled to a sum of 1 over the chosen, is the same. */
static void weigh(lm_route *routes, uint32_t n_used)
{
    const double most = (double)routes[0].weight;
    double sum = 0;
    for (uint32_t i = 0; i < n_used; i++)
        sum += exp((double)routes[i].weight - most);
    for (uint32_t i = 0; i < n_used; i++)
        routes[i].weight = (float)(exp((double)routes[i].weight - most) / sum);
}

/* Gives every route its place: experts one after another, and rows in their order within one. */
static void order_routes(const lm_pass *p, size_t n_rows)
{
    const size_t n_expert = p->model->shape.n_expert, n_used = p->model->shape.n_used;
    size_t *first = p->expert_first;
    memset(first, 0, (n_expert + 1) * sizeof *first);
    for (size_t i = 0; i < n_rows * n_used; i++)
        first[p->routes[i].expert + 1]++;
    for (size_t i = 0; i < n_expert; i++)
        first[i + 1] += first[i];
    for (size_t i = 0; i < n_rows * n_used; i++) {
        p->place[i] = first[p->routes[i].expert]++;
        p->place_row[p->place[i]] = i / n_used;
    }
    memmove(first + 1, first, n_expert * sizeof *first);          /* each has moved to where the next one begins */
    first[0] = 0;
}

void lm_run_experts(const lm_pass *p, const lm_layer *layer, const float *input, size_t n_rows, lm_times *times)
{
    const lm_shape *s = &p->model->shape;
    const size_t n_embd = s->n_embd, n_used = s->n_used, ups = layer->experts[0].up.weight.n_out;
    const double start = seconds_now();
    lm_apply(&layer->router, input, n_embd, n_rows, p->worth, s->n_expert);
    double multiplied = seconds_now() - start;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++) {
        choose(p->worth + row * s->n_expert, s->n_expert, s->n_used, p->routes + row * n_used);
        weigh(p->routes + row * n_used, s->n_used);
    }
    order_routes(p, n_rows);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n_rows * n_used; i++)
        memcpy(p->routed + i * n_embd, input + p->place_row[i] * n_embd, n_embd * sizeof *input);
    for (uint32_t i = 0; i < s->n_expert; i++) {
        const size_t n = p->expert_first[i + 1] - p->expert_first[i];
        float *x = p->routed + p->expert_first[i] * n_embd;
        if (n == 0)
            continue;
        const double t0 = seconds_now();
        lm_apply(&layer->experts[i].up, x, n_embd, n, p->gate_up, ups);
        const double t1 = seconds_now();
        lm_activate(p, n, ups);
        const double t2 = seconds_now();
        lm_apply(&layer->experts[i].down, p->gate_up, ups, n, x, n_embd);
        multiplied += seconds_now() - t2 + t1 - t0;
    }
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++) {
        float *sum = p->normed + row * n_embd;
        memset(sum, 0, n_embd * sizeof *sum);
        for (size_t k = row * n_used; k < (row + 1) * n_used; k++)
            for (size_t i = 0; i < n_embd; i++)
                sum[i] += p->routes[k].weight * p->routed[p->place[k] * n_embd + i];
    }
    times->matmul += multiplied;
    times->rest += seconds_now() - start - multiplied;
}
