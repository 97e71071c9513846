/* paper.c - lists the specs of published tables with the verdicts that a store has for them.
 * The counts are those of `kvant report`: nothing is judged here a second time. */
#include "harness/experiment/spec.h"
#include "harness/report/paper.h"
#include "harness/report/report_internal.h"
#include "harness/report/report_text.h"

#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const verdicts[] = { "met", "not met", "published error", "shown beside", "undecided", "not computed" };
enum { VERDICTS = sizeof verdicts / sizeof *verdicts };

static void count_rows(const cJSON *report, cJSON *variant)
{
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(report, "expect"), *row;
    double counts[VERDICTS] = { 0 };
    cJSON_ArrayForEach(row, rows)
        for (size_t i = 0; i < VERDICTS; i++)
            counts[i] += !strcmp(member_text(row, "verdict"), verdicts[i]);
    cJSON_AddNumberToObject(variant, "rows", cJSON_GetArraySize(rows));
    for (size_t i = 0; i < VERDICTS; i++)
        cJSON_AddNumberToObject(variant, verdicts[i], counts[i]);
}

/* Nothing of it is known: all rows wait. */
static void count_none(const spec *s, cJSON *variant)
{
    const double rows = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(document_root(s->doc), "expect"));
    cJSON_AddNumberToObject(variant, "rows", rows);
    for (size_t i = 0; i < VERDICTS; i++)
        cJSON_AddNumberToObject(variant, verdicts[i], strcmp(verdicts[i], "not computed") ? 0 : rows);
}

/* The text that the store has of the experiment, freed by the caller; NULL with KVANT_OK: it has none. */
static kvant_status stored_spec(store *s, const char *experiment, cJSON **stored, kvant_error *err)
{
    cJSON *rows = report_rows(s, "SELECT spec FROM experiment WHERE name = ?1", experiment, err);
    if (!rows)
        return KVANT_IO;
    *stored = rows->child ? cJSON_Parse(member_text(rows->child, "spec")) : NULL;
    cJSON_Delete(rows);
    return KVANT_OK;
}

static kvant_status add_variant(store *db, const spec *s, cJSON *variants, kvant_error *err)
{
    cJSON *variant = cJSON_CreateObject(), *stored = NULL, *report = NULL;
    cJSON_AddItemToArray(variants, variant);
    cJSON_AddStringToObject(variant, "variant", s->quick ? "quick" : "full");
    cJSON_AddStringToObject(variant, "experiment", s->name);
    add_number(variant, "minutes", s->minutes);
    kvant_status status = db ? stored_spec(db, s->name, &stored, err) : KVANT_OK;
    const bool same = stored && cJSON_Compare(stored, document_root(s->doc), true);
    if (!status && same)
        status = report_load(db, s->name, &report, err);
    const double cells = member_number(report, "cells"), finished = member_number(report, "finished");
    cJSON_AddStringToObject(variant, "state", !stored ? "not run" : !same ? "changed" : finished < cells ? "running" : "finished");
    add_number(variant, "cells", cells);
    add_number(variant, "finished", finished);
    if (report)
        count_rows(report, variant);
    else
        count_none(s, variant);
    cJSON_AddBoolToObject(variant, "holds", !report || (report_met(report) && report_controlled(report)));
    cJSON_Delete(report);
    cJSON_Delete(stored);
    return status;
}

static kvant_status add_paper(store *db, const char *path, const spec *s, cJSON *papers, kvant_error *err)
{
    cJSON *paper = cJSON_CreateObject();
    cJSON_AddItemToArray(papers, paper);
    cJSON_AddStringToObject(paper, "name", s->name);
    cJSON_AddStringToObject(paper, "file", path);
    cJSON_AddStringToObject(paper, "title", s->title ? s->title : "");
    cJSON_AddStringToObject(paper, "paper", s->paper ? s->paper : "");
    add_number(paper, "golden", s->golden);
    cJSON *variants = cJSON_AddArrayToObject(paper, "variants");
    kvant_status status = add_variant(db, s, variants, err);
    spec quick = { 0 };
    if (!status && s->has_quick)
        status = spec_read_quick(path, NULL, 0, &quick, err);
    if (!status && s->has_quick)
        status = add_variant(db, &quick, variants, err);
    spec_close(&quick);
    return status;
}

static bool is_wanted(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return !names;
}

/* Each name was found; otherwise the nearest that there is. */
static kvant_status check_names(const char *folder, const char *const *names, const char *const *known, kvant_error *err)
{
    for (; names && *names; names++) {
        const char *const *k = known;
        while (*k && strcmp(*k, *names))
            k++;
        const char *near = *k ? NULL : nearest_name(*names, known);
        if (!*k)
            return kvant_fail(err, KVANT_INVALID, "%s: no spec is named '%.64s'%s%s%s", folder, *names,
                              near ? ": did you mean '" : "; `kvant paper` lists them", near ? near : "", near ? "'?" : "");
    }
    return KVANT_OK;
}

static kvant_status read_all(store *db, const glob_t *files, const char *folder, const char *const *names, cJSON *papers,
                             kvant_error *err)
{
    kvant_status status = KVANT_OK;
    char **known = calloc(files->gl_pathc + 1, sizeof *known);
    if (!known)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu specs", files->gl_pathc);
    for (size_t i = 0; i < files->gl_pathc && !status; i++) {
        spec s;
        status = spec_read(files->gl_pathv[i], NULL, 0, &s, err);
        if (!status && is_wanted(names, s.name))
            status = add_paper(db, files->gl_pathv[i], &s, papers, err);
        if (!status && !(known[i] = strdup(s.name)))
            status = kvant_fail(err, KVANT_NOMEM, "no memory for the names of specs");
        spec_close(&s);
    }
    if (!status)
        status = check_names(folder, names, (const char *const *)known, err);
    for (size_t i = 0; i < files->gl_pathc; i++)
        free(known[i]);
    free(known);
    return status;
}

kvant_status paper_load(store *s, const char *folder, const char *const *names, cJSON **papers, kvant_error *err)
{
    *papers = NULL;
    glob_t files = { .gl_pathc = 0 };
    char *pattern = text_format("%s/*.json", folder);
    const int found = pattern ? glob(pattern, 0, NULL, &files) : GLOB_NOSPACE;
    free(pattern);
    if (found)
        return found == GLOB_NOMATCH ? kvant_fail(err, KVANT_INVALID, "%s: there are no specs (*.json)", folder)
                                     : kvant_fail(err, KVANT_IO, "%s: cannot list its specs", folder);
    cJSON *all = cJSON_CreateArray();
    kvant_status status = all ? read_all(s, &files, folder, names, all, err) : kvant_fail(err, KVANT_NOMEM, "out of memory");
    globfree(&files);
    if (status)
        cJSON_Delete(all);
    else
        *papers = all;
    return status;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------------------- */

static void write_csv(const cJSON *papers, text *out)
{
    static const char *const numbers[] = { "minutes", "cells", "finished", "rows" };
    const cJSON *paper, *v;
    text_add(out, "name,variant,experiment,minutes,cells,finished,rows,met,not_met,published_error,shown_beside,undecided,"
                  "not_computed,state,golden,file,title,paper\r\n");
    cJSON_ArrayForEach(paper, papers)
        cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(paper, "variants")) {
            csv_text(out, member_text(paper, "name"), ',');
            csv_text(out, member_text(v, "variant"), ',');
            csv_text(out, member_text(v, "experiment"), ',');
            for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                csv_number(out, member_number(v, numbers[i]), ',');
            for (size_t i = 0; i < VERDICTS; i++)
                csv_number(out, member_number(v, verdicts[i]), ',');
            csv_text(out, member_text(v, "state"), ',');
            csv_number(out, member_number(paper, "golden"), ',');
            csv_text(out, member_text(paper, "file"), ',');
            csv_text(out, member_text(paper, "title"), ',');
            csv_text(out, member_text(paper, "paper"), '\n');
        }
}

static void write_table(const cJSON *papers, const report_options *options, text *out)
{
    static const char *const heads[] = { "spec", "variant", "minutes", "cells", "rows", "met", "not met", "published error",
                                         "shown beside", "undecided",
                                         "not computed" };
    table t = { .n_columns = sizeof heads / sizeof *heads };
    const cJSON *paper, *v;
    for (size_t i = 0; i < t.n_columns; i++)
        table_cell(&t, "%s", heads[i]);
    cJSON_ArrayForEach(paper, papers)
        cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(paper, "variants")) {
            const char *state = member_text(v, "state");
            const double minutes = member_number(v, "minutes");
            table_cell(&t, "%s", member_text(paper, "name"));
            table_cell(&t, "%s", member_text(v, "variant"));
            if (isnan(minutes))
                table_cell(&t, "%s", "");
            else
                table_cell(&t, "%g", minutes);
            if (!strcmp(state, "not run") || !strcmp(state, "changed"))
                table_cell(&t, "%s", !strcmp(state, "changed") ? "spec changed" : state);
            else
                table_cell(&t, "%.0f of %.0f", member_number(v, "finished"), member_number(v, "cells"));
            table_cell(&t, "%.0f", member_number(v, "rows"));
            for (size_t i = 0; i < VERDICTS; i++)
                table_cell(&t, "%.0f", member_number(v, verdicts[i]));
        }
    report_print_table(&t, options, out);
    table_free(&t);
    text_add(out, "\n");
    cJSON_ArrayForEach(paper, papers) {
        const char *about = member_text(paper, "paper"), *title = member_text(paper, "title");
        report_note(options, out, "%s: %s%s%s%s", member_text(paper, "name"), *title ? title : "no title", *about ? " (" : "", about,
                    *about ? ")" : "");
    }
}

void paper_write(cJSON *papers, const report_options *options, text *out, bool *hold)
{
    const cJSON *paper, *v;
    *hold = true;
    cJSON_ArrayForEach(paper, papers)
        cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(paper, "variants"))
            *hold = *hold && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(v, "holds"));
    if (options->format == REPORT_JSON)
        report_json(papers, out);
    else if (options->format == REPORT_CSV)
        write_csv(papers, out);
    else
        write_table(papers, options, out);
}
