/* planted_polar.c - polarquant with a published bug (planted.h): angles of level 1 left in (-pi, pi].
 * Shared by the tests of the checks. */
#include "tests/planted.h"

#include <math.h>

/* An angle below 0 lies below every threshold and falls into cell 0, as 0 itself does. */
static double planted_angle(double y, double x)
{
    return planted == PLANTED_UNWRAPPED ? fmax(atan2(y, x), 0) : atan2(y, x);
}

#define atan2(y, x) planted_angle(y, x)
#define quantizer_polarquant planted_polar
#include "algorithms/polarquant.c"
