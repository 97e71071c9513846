/* codes.c - prints what every quantizer makes of fixed vectors, as hashes: one line per variant and dimension.
 * tests/codes.sh compares what different compilers and levels of optimisation print: codes must decode on any machine. */
#include "harness/check/check_internal.h"
#include "harness/util.h"

#include <gsl/gsl_errno.h>
#include <gsl/gsl_randist.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS = 32, QUERIES = 2, TRAINING = 4096, SEED = 3 };

/* A Gaussian, but for three vectors in eight: zero, tiny, and large beside small. */
static void draw(float *x, size_t n, size_t dim)
{
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_rng_set(rng, 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < dim; j++) {
            double g = gsl_ran_gaussian_ziggurat(rng, 1);
            x[i * dim + j] = (float)(i % 8 == 5 ? 0 : i % 8 == 6 ? 1e-39 * g : i % 8 == 7 ? (j % 3 ? 6e-8 : 6e4) * g : g);
        }
    gsl_rng_free(rng);
}

static void print_hash(const void *data, size_t bytes)
{
    char hex[SHA256_HEX];
    sha256_of(data, bytes, hex);
    printf(" %.16s", hex);
}

static void *need(size_t bytes)
{
    void *p = kvant_alloc(bytes ? bytes : 1);
    if (!p) {
        fputs("codes: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static void print_work(const kvant_codec *codec, const float *x, size_t n)
{
    size_t dim = codec->shape.dim, bytes = kvant_bytes(codec, n);
    uint8_t *code = need(bytes);
    float *decoded = need(n * dim * sizeof(float)), *dot = need(QUERIES * n * sizeof(float));
    float *acc = need(QUERIES * codec->acc * sizeof(float)), *out = need(QUERIES * dim * sizeof(float));
    void *prepared = need(QUERIES * codec->query), *scratch = need(codec->scratch);
    kvant_encode(codec, x, 0, n, code, scratch);
    kvant_decode(codec, code, 0, n, decoded, scratch);
    kvant_query(codec, x, QUERIES, prepared, scratch);
    kvant_score(codec, prepared, QUERIES, code, 0, n, dot, scratch);
    kvant_mix(codec, dot, QUERIES, code, 0, n, acc, scratch);
    kvant_finish(codec, acc, QUERIES, out, scratch);
    print_hash(codec->state, codec->plan.state);
    print_hash(code, bytes);
    print_hash(decoded, n * dim * sizeof *decoded);
    print_hash(dot, QUERIES * n * sizeof *dot);
    print_hash(out, QUERIES * dim * sizeof *out);
    free(code);
    free(decoded);
    free(dot);
    free(acc);
    free(out);
    free(prepared);
    free(scratch);
}

/* Status of the whole: a variant that does not take the dimension says so in its line. */
static bool print_variant(const kvant_quantizer *q, const check_variant *variant, uint32_t dim)
{
    kvant_codec codec;
    kvant_error why = { "" };
    kvant_shape shape = { .dim = dim, .side = KVANT_VECTOR, .seed = SEED };
    printf("%s d=%u %s:", q->name, dim, variant->given);
    kvant_status status = kvant_open(q, &shape, &variant->args, "scalar", &codec, &why);
    if (!status) {
        size_t n = (VECTORS + codec.unit - 1) / codec.unit * codec.unit;
        float *x = need(TRAINING * dim * sizeof *x);
        draw(x, TRAINING, dim);
        if (codec.plan.train_min)
            status = codec.plan.train_min > TRAINING ? kvant_fail(&why, KVANT_SKIP, "wants %zu vectors", codec.plan.train_min)
                                                     : kvant_train(&codec, x, codec.plan.train_min, &why);
        if (!status)
            print_work(&codec, x, n);
        free(x);
        kvant_close(&codec);
    }
    printf(status ? " %s\n" : "\n", why.text);
    return !status || status == KVANT_SKIP;
}

int main(void)
{
    static const uint32_t dims[] = { 64, 80, 128 };
    static check_variant variants[CHECK_VARIANTS];
    bool ok = true;
    gsl_set_error_handler_off();
    for (const kvant_quantizer *const *q = kvant_quantizers(); *q; q++) {
        size_t n = check_variants((*q)->params, variants);
        for (size_t v = 0; v < n; v++)
            for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
                ok = print_variant(*q, &variants[v], dims[i]) && ok;
    }
    return ok ? 0 : 1;
}
