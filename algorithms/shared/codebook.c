/* codebook.c - Lloyd-Max by Newton's method on the centroids.
 * Lloyd's own iteration needs thousands of rounds at 8 bits and multiplies every rounding error by the square of the number of
 * cells; Newton's tridiagonal system needs about five rounds, on moments that are accurate relative to each cell. */
#include "algorithms/shared/codebook.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_integration.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_math.h>
#include <gsl/gsl_randist.h>
#include <gsl/gsl_sf_gamma.h>
#include <math.h>

enum { HALF = 1 << (CODEBOOK_MAX_BITS - 1), POINTS = 32, ROUNDS = 60 };

/* A symmetric density f on [-edge, edge], described on its positive half. */
typedef struct {
    codebook_density kind;
    double d, peak, edge;                      /* peak: f(0) */
    gsl_integration_glfixed_table *rule;       /* Gauss-Legendre, for masses without a closed form */
} law;

static law law_of(codebook_density kind, uint32_t d)
{
    law f = { kind, d, gsl_ran_ugaussian_pdf(0), INFINITY, gsl_integration_glfixed_table_alloc(POINTS) };
    if (kind == CODEBOOK_EXACT) {
        f.peak = gsl_sf_poch((d - 1) / 2.0, .5) / sqrt(M_PI * d);
        f.edge = sqrt(d);
    }
    if (kind == CODEBOOK_ANGLE) {
        f.peak = gsl_sf_poch((d + 1) / 2.0, .5) / sqrt(M_PI);
        f.edge = M_PI_2;
    }
    return f;
}

static double density(const law *f, double u)
{
    if (f->kind == CODEBOOK_GAUSSIAN)
        return gsl_ran_ugaussian_pdf(u);
    if (f->kind == CODEBOOK_ANGLE)
        return f->peak * pow(cos(u), f->d);
    if (f->kind == CODEBOOK_LAPLACIAN)
        return exp(-M_SQRT2 * u) / M_SQRT2;
    return u < f->edge ? f->peak * pow(1 - u * u / f->d, (f->d - 3) / 2) : 0;
}

/* Integral of u^power f(u) du over [a, b], for angles: smooth up to the edge, so that the rule is exact to the last digits. */
static double angle_moment(const law *f, double a, double b, int power)
{
    double sum = 0;
    for (size_t i = 0; i < POINTS; i++) {
        double u, weight;
        gsl_integration_glfixed_point(a, b, i, &u, &weight, f->rule);
        sum += weight * gsl_pow_int(u, power) * density(f, u);
    }
    return sum;
}

/* Integral of f(u) du over [a, b]. With u = sqrt(d) sin(angle) the exact density is cos^(d-2), smooth up to the edge; beyond nine
 * standard deviations nothing is left that a double would see, and the rule's points are spent where the mass is. */
static double mass(const law *f, double a, double b)
{
    if (f->kind == CODEBOOK_GAUSSIAN)
        return gsl_cdf_ugaussian_Q(a) - gsl_cdf_ugaussian_Q(b);
    if (f->kind == CODEBOOK_ANGLE)
        return angle_moment(f, a, b, 0);
    if (f->kind == CODEBOOK_LAPLACIAN)
        return -exp(-M_SQRT2 * a) * expm1(M_SQRT2 * (a - b)) / 2;
    double sum = 0, from = asin(a / f->edge), to = fmin(asin(b / f->edge), from + 9 / f->edge);
    for (size_t i = 0; i < POINTS; i++) {
        double angle, weight;
        gsl_integration_glfixed_point(from, to, i, &angle, &weight, f->rule);
        sum += weight * pow(cos(angle), f->d - 2);
    }
    return f->peak * f->edge * sum;
}

/* Integral of u f(u) du over [a, b], in forms that do not cancel when the cell is narrow. */
static double moment(const law *f, double a, double b)
{
    if (f->kind == CODEBOOK_GAUSSIAN)
        return -gsl_ran_ugaussian_pdf(a) * expm1((a - b) * (a + b) / 2);
    if (f->kind == CODEBOOK_ANGLE)
        return angle_moment(f, a, b, 1);
    if (f->kind == CODEBOOK_LAPLACIAN) {       /* beyond a it is the same exponential again, from a on */
        double beyond = b < f->edge ? gsl_cdf_gamma_P(M_SQRT2 * (b - a), 2, 1) : 1;
        return a * mass(f, a, b) + exp(-M_SQRT2 * a) * beyond / (2 * M_SQRT2);
    }
    double power = (f->d - 1) / 2, at = 1 - a * a / f->d;
    double change = b < f->edge ? expm1(power * log1p((a - b) * (a + b) / (f->d * at))) : -1;
    return -f->peak * f->d / (f->d - 1) * pow(at, power) * change;
}

/* Where to start: with many cells, centroids lie with density f^(1/3) (Panter and Dite), for a Gaussian another Gaussian of
 * variance 3, for a Laplacian another one of three times the scale. A coordinate on the sphere is a Gaussian bent inwards, and so
 * is its start. */
static double start(const law *f, double quantile)
{
    if (f->kind == CODEBOOK_ANGLE)
        return f->edge * quantile;             /* bounded and flat: evenly spaced is near enough */
    if (f->kind == CODEBOOK_LAPLACIAN)
        return -3 / M_SQRT2 * log1p(-quantile);
    double g = sqrt(3) * gsl_cdf_ugaussian_Pinv((1 + quantile) / 2);
    return f->kind == CODEBOOK_GAUSSIAN ? g : g / sqrt(1 + g * g / f->d);
}

/* A Newton system for c = T(c), T_i the mean of cell i, whose edges are midpoints (and 0, and the edge of the density).
 * For log-concave densities, as all are, a cell's mean moves by less than its edges do: I - T' is an M-matrix everywhere, while
 * the Hessian of the error is indefinite far from the solution and throws the outermost centroids away. */
typedef struct { double residual[HALF], diagonal[HALF], above[HALF], below[HALF], step[HALF]; } newton;

static void linearise(const law *f, const double *c, size_t m, newton *s)
{
    for (size_t i = 0; i < m; i++) {
        bool last = i + 1 == m;
        double lower = i ? (c[i - 1] + c[i]) / 2 : 0, upper = last ? f->edge : (c[i] + c[i + 1]) / 2;
        double p = mass(f, lower, upper), mean = moment(f, lower, upper) / p;
        double by_lower = i ? density(f, lower) * (mean - lower) / p / 2 : 0;           /* half: an edge is a midpoint */
        double by_upper = last ? 0 : density(f, upper) * (upper - mean) / p / 2;
        s->residual[i] = c[i] - mean;
        s->diagonal[i] = 1 - by_lower - by_upper;
        if (i)
            s->below[i - 1] = -by_lower;
        s->above[i] = -by_upper;
    }
}

/* One centroid has no neighbour, and GSL's solver wants two unknowns. */
static int solve(newton *s, size_t m)
{
    if (m == 1) {
        s->step[0] = s->residual[0] / s->diagonal[0];
        return GSL_SUCCESS;
    }
    gsl_vector_view diagonal = gsl_vector_view_array(s->diagonal, m), residual = gsl_vector_view_array(s->residual, m);
    gsl_vector_view above = gsl_vector_view_array(s->above, m - 1), below = gsl_vector_view_array(s->below, m - 1);
    gsl_vector_view step = gsl_vector_view_array(s->step, m);
    return gsl_linalg_solve_tridiag(&diagonal.vector, &above.vector, &below.vector, &residual.vector, &step.vector);
}

/* True when c - length * step is still ascending inside (0, edge). */
static bool ordered(const law *f, const double *c, const double *step, double length, size_t m)
{
    double before = 0;
    for (size_t i = 0; i < m; i++) {
        double next = c[i] - length * step[i];
        if (!(next > before && next < f->edge))
            return false;
        before = next;
    }
    return true;
}

static kvant_status iterate(const law *f, double *c, size_t m, kvant_error *err)
{
    newton system;
    double largest = INFINITY;
    for (size_t i = 0; i < m; i++)
        c[i] = start(f, ((double)i + .5) / (double)m);
    for (int round = 0; round < ROUNDS; round++) {
        double length = 1;
        linearise(f, c, m, &system);
        if (solve(&system, m))
            break;
        while (length > 1e-6 && !ordered(f, c, system.step, length, m))
            length /= 2;
        largest = 0;
        for (size_t i = 0; i < m; i++) {
            c[i] -= length * system.step[i];
            if (!(fabs(system.step[i]) <= largest))        /* NaN too */
                largest = fabs(system.step[i]);
        }
        if (largest < 1e-7)        /* quadratic: the step just taken leaves less than the rounding errors do */
            return KVANT_OK;
    }
    return kvant_fail(err, KVANT_FAILED, "codebook: %zu centroids, dim %g: Newton's method did not converge (last step %g)", 2 * m,
                      f->d, largest);
}

kvant_status codebook_solve(codebook_density kind, uint32_t d, unsigned bits, double *centroids, double *mse, kvant_error *err)
{
    if (bits < 1 || bits > CODEBOOK_MAX_BITS || (kind == CODEBOOK_EXACT && d < 4) || (kind == CODEBOOK_ANGLE && d < 1))
        return kvant_fail(err, KVANT_INVALID,
                          "codebook: %u bits, dim %u: use 1 to %d bits and at least 4 dimensions (1 for angles)", bits, d,
                          CODEBOOK_MAX_BITS);
    size_t m = (size_t)1 << (bits - 1);
    double *c = centroids + m, explained = 0;
    law f = law_of(kind, d);
    if (!f.rule)
        return kvant_fail(err, KVANT_NOMEM, "codebook: no memory for an integration rule");
    kvant_status status = iterate(&f, c, m, err);
    for (size_t i = 0; i < m && !status; i++) {
        double lower = i ? (c[i - 1] + c[i]) / 2 : 0, upper = i + 1 < m ? (c[i] + c[i + 1]) / 2 : f.edge;
        explained += 2 * c[i] * moment(&f, lower, upper);
        centroids[m - 1 - i] = -c[i];
    }
    if (mse)                       /* E u^2 - E c^2, since a centroid is the mean of its cell */
        *mse = (kind == CODEBOOK_ANGLE ? 2 * angle_moment(&f, 0, f.edge, 2) : 1) - explained;
    gsl_integration_glfixed_table_free(f.rule);
    return status;
}

void codebook_thresholds(const float *centroids, size_t n, float *thresholds)
{
    for (size_t i = 0; i + 1 < n; i++) {
        double middle = ((double)centroids[i] + (double)centroids[i + 1]) / 2;      /* exact in double */
        float t = (float)middle;
        thresholds[i] = t > middle ? t : nextafterf(t, INFINITY);
    }
}
