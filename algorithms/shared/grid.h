/* grid.h - the vector of an evenly spaced grid whose direction is nearest to a given one (2409.09913, section 3).
 * The grid's coordinates are k + 1/2 for k = 0 ... steps, with either sign: the best is a rounding of t |u| for some scale t > 0. */
#ifndef KVANT_GRID_H
#define KVANT_GRID_H

#include <stddef.h>
#include <stdint.h>

/* A coordinate of magnitude `size` that is k steps up and takes the next one at the scale `next`. */
typedef struct { double next, size; uint32_t k; } grid_climber;

/* The scale t for which the rounding u' of t |u| to k + 1/2, k = min(floor(t |u|), steps), has the largest <u', |u|> / |u'|; the
 * smallest of equals, 0 of a zero vector. u [d]; heap [d] is work. */
double grid_best_scale(const float *u, size_t d, uint32_t steps, grid_climber *heap);

/* k of a coordinate of magnitude `size` at scale t, by the same divisions as the search. */
uint32_t grid_steps(double size, double t, uint32_t steps);

#endif
