/* html_cells.c - the beginning and the end of a page: what ran, on what, and whether to believe it; and every cell with its settings,
 * measurements and raw samples, so that a figure can be followed to where it comes from. */
#include "harness/report/html.h"
#include "harness/report/report_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Summary ------------------------------------------------------------------------------------------------------------ */

static void item(text *out, const char *name) { text_add(out, "<dt>%s</dt><dd>", name); }

static const cJSON *list_of(const cJSON *report, const char *name) { return cJSON_GetObjectItemCaseSensitive(report, name); }

/* The different values of a member among the blocks. */
static void add_different(const cJSON *report, const char *member, text *out)
{
    const cJSON *block, *earlier, *blocks = list_of(report, "blocks");
    bool any = false;
    cJSON_ArrayForEach(block, blocks) {
        bool seen = !*member_text(block, member);
        for (earlier = blocks->child; earlier != block && !seen; earlier = earlier->next)
            seen = !strcmp(member_text(earlier, member), member_text(block, member));
        if (seen)
            continue;
        text_add(out, any ? ", " : "");
        html_text(out, member_text(block, member));
        any = true;
    }
    text_add(out, any ? "" : "none");
}

static void add_run(const cJSON *run, text *out)
{
    static const char *const facts[] = { "cpu", "gpu", "isa", "compiler", "flags", "libraries" };
    item(out, "Machine");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const char *fact = member_text(run, facts[i]);
        text_add(out, i && *fact ? "; " : "");
        html_text(out, fact);
    }
    text_add(out, "; %.0f thread%s</dd>\n", member_number(run, "threads"), member_number(run, "threads") == 1 ? "" : "s");
    item(out, "Commit");
    text_add(out, "<code>");
    html_text(out, member_text(run, "commit"));
    text_add(out, "</code>, kvant ");
    html_text(out, member_text(run, "version"));
    text_add(out, "%s</dd>\n", member_number(run, "dirty") == 1 ? ", with changes that are in no commit" : "");
    item(out, "Ran");
    html_text(out, member_text(run, "started"));
    text_add(out, ", %.3g s for %.0f cell%s: <code>", member_number(run, "seconds"), member_number(run, "cells"),
             member_number(run, "cells") == 1 ? "" : "s");
    html_text(out, member_text(run, "command"));
    text_add(out, "</code></dd>\n");
}

static void add_controls(const cJSON *report, text *out)
{
    static const char *const verdicts[] = { "valid", "incomplete", "unfinished", "left out", "invalid" };
    const cJSON *block;
    bool any = false;
    item(out, "Controls");
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
        size_t n = 0;
        cJSON_ArrayForEach(block, list_of(report, "blocks"))
            n += !strcmp(member_text(list_of(block, "controls"), "verdict"), verdicts[i]);
        if (!n)
            continue;
        const bool invalid = !strcmp(verdicts[i], "invalid"), valid = i == 0;
        text_add(out, "%s<span class=\"%s\">%s</span> for %zu table%s", any ? ", " : "", invalid ? "bad" : valid ? "good" : "note",
                 invalid ? "INVALID" : verdicts[i], n, n == 1 ? "" : "s");
        any = true;
    }
    text_add(out, any ? "</dd>\n" : "none of these probes has any</dd>\n");
}

static void add_checks(const cJSON *report, text *out)
{
    const cJSON *check, *checks = list_of(report, "checks");
    item(out, "Checks");
    cJSON_ArrayForEach(check, checks) {
        const double passed = member_number(check, "passed"), failed = member_number(check, "failed");
        const double skipped = member_number(check, "skipped");
        text_add(out, check == checks->child ? "" : "; ");
        html_text(out, member_text(check, "quantizer"));
        if (!(passed + failed + skipped > 0))
            text_add(out, ": none in this store");
        else if (failed > 0)
            text_add(out, ": <span class=\"bad\">%.0f failed</span> of %.0f", failed, passed + failed);
        else
            text_add(out, ": %.0f passed", passed);
        if (skipped > 0)
            text_add(out, ", %.0f skipped", skipped);
    }
    text_add(out, checks && checks->child ? "</dd>\n" : "none</dd>\n");
}

static void add_expectations(const cJSON *report, text *out)
{
    const cJSON *rows = list_of(report, "expect"), *row, *earlier, *other;
    bool any = false;
    if (!cJSON_GetArraySize(rows))
        return;
    item(out, "Expectations");
    cJSON_ArrayForEach(row, rows) {
        const char *verdict = member_text(row, "verdict");
        size_t n = 0;
        bool seen = false;
        for (earlier = rows->child; earlier != row && !seen; earlier = earlier->next)
            seen = !strcmp(member_text(earlier, "verdict"), verdict);
        if (seen)
            continue;
        cJSON_ArrayForEach(other, rows)
            n += !strcmp(member_text(other, "verdict"), verdict);
        text_add(out, "%s%zu ", any ? ", " : "", n);
        any = true;
        text_add(out, "<span class=\"%s\">", !strcmp(verdict, "met") ? "good" : !strcmp(verdict, "not met") ? "bad" : "note");
        html_text(out, verdict);
        text_add(out, "</span>");
    }
    text_add(out, "</dd>\n");
}

void html_summary(const cJSON *report, text *out)
{
    const cJSON *run;
    text_add(out, "<dl>\n");
    item(out, "Measures");
    add_different(report, "probe", out);
    text_add(out, "</dd>\n");
    item(out, "Models");
    add_different(report, "model", out);
    text_add(out, "</dd>\n");
    item(out, "Data");
    add_different(report, "data", out);
    text_add(out, "</dd>\n");
    add_controls(report, out);
    add_checks(report, out);
    add_expectations(report, out);
    const int skipped = cJSON_GetArraySize(list_of(report, "skips"));
    if (skipped) {
        item(out, "Skipped");
        text_add(out, "%d cell%s, with reasons below</dd>\n", skipped, skipped == 1 ? "" : "s");
    }
    cJSON_ArrayForEach(run, list_of(report, "runs"))
        add_run(run, out);
    text_add(out, "</dl>\n<p class=\"note\">Errors are standard errors; differences to the reference are paired by chunk, with a "
                  "95 %% interval. Bold: the best among equal asked bits, and what is not told apart from it. Rows lead to their "
                  "cells, below.</p>\n");
    char *spec = cJSON_Print(list_of(report, "spec"));
    text_add(out, "<details><summary>The spec that asked for this</summary>\n<pre tabindex=\"0\">");
    html_text(out, spec ? spec : "");
    text_add(out, "</pre>\n</details>\n");
    out->failed = out->failed || !spec;
    cJSON_free(spec);
}

/* ---- Cells -------------------------------------------------------------------------------------------------------------- */

static void add_samples(const cJSON *samples, text *out)
{
    const cJSON *sample;
    text_add(out, "<details><summary>%d raw samples</summary>\n", cJSON_GetArraySize(samples));
    text_add(out, "<pre tabindex=\"0\">metric,unit,chunk,idx,value,n\n");
    text rows = { 0 };
    cJSON_ArrayForEach(sample, samples) {
        csv_text(&rows, member_text(sample, "metric"), ',');
        csv_number(&rows, member_number(sample, "unit"), ',');
        csv_number(&rows, member_number(sample, "chunk"), ',');
        csv_number(&rows, member_number(sample, "idx"), ',');
        csv_number(&rows, member_number(sample, "value"), ',');
        csv_number(&rows, member_number(sample, "n"), '\n');
    }
    html_text(out, rows.data ? rows.data : "");
    out->failed = out->failed || rows.failed;
    text_free(&rows);
    text_add(out, "</pre>\n</details>\n");
}

/* What a cell holds, but for its samples, which follow. */
static void add_json(const cJSON *cell, text *out)
{
    cJSON *copy = cJSON_CreateObject();
    const cJSON *member;
    bool ok = copy;
    cJSON_ArrayForEach(member, cell)
        if (ok && strcmp(member->string, "samples"))
            ok = cJSON_AddItemReferenceToObject(copy, member->string, (cJSON *)(uintptr_t)member);
    char *json = ok ? cJSON_Print(copy) : NULL;
    text_add(out, "<pre tabindex=\"0\">");
    html_text(out, json ? json : "");
    text_add(out, "</pre>\n");
    out->failed = out->failed || !json;
    cJSON_free(json);
    cJSON_Delete(copy);
}

static void add_cell(const cJSON *block, const cJSON *cell, text *out)
{
    text title = { 0 };
    report_title(block, &title);
    const double number = member_number(cell, "number");
    text_add(out, "<details><summary>%.0f: ", number);
    html_text(out, member_text(cell, "label"));
    text_add(out, ", ");
    html_text(out, title.data ? title.data : "");
    text_add(out, "</summary>\n<div id=\"cell-%.0f\">\n", number);
    add_json(cell, out);
    add_samples(cJSON_GetObjectItemCaseSensitive(cell, "samples"), out);
    text_add(out, "</div>\n</details>\n");
    out->failed = out->failed || title.failed;
    text_free(&title);
}

void html_cells(const cJSON *report, text *out)
{
    const cJSON *block, *cell;
    text_add(out, "<div class=\"cells\">\n");
    cJSON_ArrayForEach(block, list_of(report, "blocks")) {
        cJSON_ArrayForEach(cell, list_of(list_of(block, "controls"), "cells"))
            if (cJSON_IsTrue(list_of(cell, "added")))
                add_cell(block, cell, out);
        cJSON_ArrayForEach(cell, list_of(block, "cells"))
            add_cell(block, cell, out);
    }
    text_add(out, "</div>\n");
}
