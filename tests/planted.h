/* planted.h - for tests that compile a quantizer's own file again with one wrong function: does its table of oracles turn it down?
 * Only the rows that match are measured, so that a bug is charged to the rows that are there for it. */
#ifndef KVANT_TEST_PLANTED_H
#define KVANT_TEST_PLANTED_H

#include "harness/check_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PLANTED_ROWS = 64 };

static inline void planted_ignore(void *user, const store_check *row)
{
    (void)user;
    (void)row;
}

/* How many rows fail of those whose metric and args hold these texts ("": any). At least one row must match. */
static inline size_t planted_failures(const kvant_quantizer *quantizer, const char *metric, const char *args)
{
    kvant_oracle rows[PLANTED_ROWS + 1] = { { .input = NULL } };
    size_t n = 0;
    kvant_error err = { "" };
    for (const kvant_oracle *o = quantizer->oracles; o->input && n < PLANTED_ROWS; o++)
        if (strstr(o->metric, metric) && strstr(o->args, args) && o->dim <= 128)
            rows[n++] = *o;
    assert_true(n > 0 && n < PLANTED_ROWS);
    kvant_quantizer chosen = *quantizer;
    chosen.oracles = rows;
    const check_options options = { .target = "scalar", .quick = true, .row = planted_ignore };
    check c = { .quantizer = &chosen, .options = &options, .synthetic = dataset_find("synthetic", &err) };
    assert_non_null(c.synthetic);
    if (check_oracles(&c, &err))
        fail_msg("%s", err.text);
    assert_int_equal(c.passed + c.failed, n);
    return c.failed;
}

#endif
