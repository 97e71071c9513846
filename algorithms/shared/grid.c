/* grid.c - see grid.h.
 * The coordinates wait in a heap for the scale at which each takes its next step. */
#include "algorithms/shared/grid.h"

#include <math.h>

static double next_of(const grid_climber *c, uint32_t steps) { return c->k < steps && c->size > 0 ? (c->k + 1) / c->size : INFINITY; }

/* Restores a binary heap, smallest `next` first, below position i. */
static void sink(grid_climber *heap, size_t n, size_t i)
{
    grid_climber moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && heap[child + 1].next < heap[child].next;
        if (!(heap[child].next < moving.next))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

/* Coordinates that took their last step keep one value from there on, so of them <u', u>^2 / |u'|^2 is at most (sum |u|)^2 / n;
 * of the others it is at most their energy. */
typedef struct { double n, sum, others; } topped;

static double bound_of(const topped *p) { return p->n > 0 ? p->sum * p->sum / p->n + p->others : INFINITY; }

/* Roundings are judged when every coordinate that steps at the same t has done so, until no later one can be better, by more than the
 * sums' own rounding. */
double grid_best_scale(const float *u, size_t d, uint32_t steps, grid_climber *heap)
{
    static const double sure = 1 - 1e-9;
    double dot = 0, square = (double)d / 4, best = 0, t = 0;
    topped top = { 0, 0, 0 };
    for (size_t j = 0; j < d; j++) {
        heap[j] = (grid_climber) { .size = fabs((double)u[j]) };
        heap[j].next = next_of(&heap[j], steps);
        dot += heap[j].size / 2;
        top.others += heap[j].size * heap[j].size;
    }
    for (size_t i = d / 2; i-- > 0; )
        sink(heap, d, i);
    double largest = dot * dot / square;
    while (isfinite(heap->next) && !(bound_of(&top) < sure * largest)) {
        t = heap->next;
        do {
            if (++heap->k == steps)
                top = (topped) { top.n + 1, top.sum + heap->size, top.others - heap->size * heap->size };
            dot += heap->size;
            square += 2 * heap->k;             /* (k + 1/2)^2 - (k - 1/2)^2 */
            heap->next = next_of(heap, steps);
            sink(heap, d, 0);
        } while (heap->next <= t);
        if (dot * dot / square > largest) {
            largest = dot * dot / square;
            best = t;
        }
    }
    return best;
}

uint32_t grid_steps(double size, double t, uint32_t steps)
{
    uint32_t k = (uint32_t)fmin(size * t, steps);
    while (k < steps && (k + 1) / size <= t)
        k++;
    while (k > 0 && k / size > t)
        k--;
    return k;
}
