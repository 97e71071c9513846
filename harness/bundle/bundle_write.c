/* bundle_write.c - gathers an experiment into a folder beside its place, syncs and hashes every file, and renames the folder.
 * Whatever fails, the place stays as it was. */
#include "harness/bundle/bundle.h"
#include "harness/bundle/bundle_files.h"
#include "harness/report/plot.h"
#include "harness/report/report_internal.h"
#include "harness/version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct { const bundle_options *o; store *s; char *folder; cJSON *manifest; kvant_error *err; } writer;

static kvant_status no_memory(const writer *w) { return kvant_fail(w->err, KVANT_NOMEM, "%s: out of memory", w->o->folder); }

/* Writes a text below the new folder; frees it. */
static kvant_status put(const writer *w, const char *name, text *t)
{
    char *path = t->failed ? NULL : text_format("%s/%s", w->folder, name);
    const kvant_status status = path ? file_write(path, t->data ? t->data : "", t->length, w->err) : no_memory(w);
    free(path);
    text_free(t);
    return status;
}

/* ---- What it holds ---------------------------------------------------------------------------------------------------------- */

/* The only value of the only row, as an array of rows; NULL: *err says why. */
static cJSON *rows_of(const writer *w, const char *sql) { return report_rows(w->s, sql, w->o->experiment, w->err); }

/* Runs that made it, and what it read; the store is the new one, which has nothing else. */
static kvant_status describe(const writer *w)
{
    static const char runs_sql[] = "SELECT started, version, commit_id AS 'commit', dirty, compiler, flags, cpu, gpu, libraries, "
                                   "isa, threads, command FROM run WHERE ?1 IS NOT NULL AND id IN (SELECT run FROM unit UNION SELECT "
                                   "run FROM cell) ORDER BY id";
    static const char inputs_sql[] =
        "SELECT DISTINCT json_extract(config, p.at || '.name') AS name, json_extract(config, p.at || '.sha256') AS sha256 FROM cell, "
        "(SELECT '$.model' AS at UNION SELECT '$.data' UNION SELECT '$.calibration.data') p WHERE ?1 IS NOT NULL AND "
        "json_extract(config, p.at || '.sha256') IS NOT NULL ORDER BY name, sha256";
    const struct { const char *name, *sql; } lists[] = { { "runs", runs_sql }, { "inputs", inputs_sql } };
    cJSON_AddNumberToObject(w->manifest, "bundle", 1);
    cJSON_AddStringToObject(w->manifest, "experiment", w->o->experiment);
    cJSON_AddStringToObject(w->manifest, "version", kvant_version());
    cJSON_AddStringToObject(w->manifest, "commit", version_commit);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        cJSON *rows = rows_of(w, lists[i].sql);
        if (!rows)
            return KVANT_IO;
        if (rows->child)
            cJSON_AddItemToObject(w->manifest, lists[i].name, rows);
        else
            cJSON_Delete(rows);
    }
    return KVANT_OK;
}

static kvant_status write_spec(const writer *w)
{
    cJSON *rows = rows_of(w, "SELECT spec FROM experiment WHERE name = ?1");
    text t = { 0 };
    if (!rows)
        return KVANT_IO;
    text_add(&t, "%s\n", member_text(rows->child, "spec"));
    cJSON_Delete(rows);
    return put(w, "spec.json", &t);
}

static kvant_status write_reports(const writer *w)
{
    static const struct { const char *name; report_format format; } files[] = {
        { "results.csv", REPORT_CSV }, { "report.md", REPORT_MARKDOWN }, { "report.html", REPORT_HTML }
    };
    kvant_status status = KVANT_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && !status; i++) {
        const report_options options = { .experiment = w->o->experiment, .format = files[i].format, .plots = w->o->plots };
        text t = { 0 };
        bool met;
        status = report_write(w->s, &options, &t, &met, w->err);
        if (status)
            text_free(&t);
        else
            status = put(w, files[i].name, &t);
    }
    return status;
}

static kvant_status write_commands(const writer *w)
{
    const cJSON *run, *plot;
    text t = { 0 };
    text_add(&t, "# The command lines that made the results, with the commit and the machine of each.\n");
    cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(w->manifest, "runs"))
        text_add(&t, "\n# %s, kvant %s, commit %s%s, %s, %.0f threads\n%s\n", member_text(run, "started"), member_text(run, "version"),
                 member_text(run, "commit"), member_number(run, "dirty") == 1 ? " with changes" : "", member_text(run, "cpu"),
                 member_number(run, "threads"), member_text(run, "command"));
    text_add(&t, "\n# Again, in a copy of this folder:\nkvant run spec.json --store again.db\nkvant compare store.db again.db\n"
                 "kvant report %s --store store.db --format csv\nkvant report %s --store store.db --format md\n", w->o->experiment,
             w->o->experiment);
    cJSON_ArrayForEach(plot, cJSON_GetObjectItemCaseSensitive(w->manifest, "plots"))
        text_add(&t, "kvant plot %s %s --store store.db --format svg --format pdf --out plots\n", plot->valuestring, w->o->experiment);
    return put(w, "commands.txt", &t);
}

/* Every plot that the experiment has data for; those that it has none for, or that need a question, are named with the reason. */
static kvant_status draw_plots(const writer *w)
{
    static const char *const formats[] = { "svg", "pdf", NULL };
    text names = { 0 }, files = { 0 };
    kvant_status status = plot_list(w->o->plots, &names, w->err);
    char *out = text_format("%s/plots", w->folder), *rest = NULL;
    cJSON *drawn = cJSON_CreateArray(), *left_out = cJSON_CreateArray();
    if (!status && (!out || names.failed))
        status = no_memory(w);
    else if (!status)
        status = make_folders(out, false, w->err);
    for (char *line = names.data ? strtok_r(names.data, "\n", &rest) : NULL; line && !status; line = strtok_r(NULL, "\n", &rest)) {
        line[strcspn(line, " ")] = '\0';
        const plot_options plot = { .folder = w->o->plots, .name = line, .experiment = w->o->experiment, .out = out,
                                    .formats = formats };
        kvant_error why;
        const kvant_status did = plot_draw(w->s, &plot, &files, &why);
        if (did == KVANT_INVALID || did == KVANT_SKIP) {
            cJSON *reason = cJSON_CreateObject();
            cJSON_AddStringToObject(reason, "plot", line);
            cJSON_AddStringToObject(reason, "reason", why.text);
            cJSON_AddItemToArray(left_out, reason);
        } else if (did)
            status = kvant_fail(w->err, did, "%.700s", why.text);
        else
            cJSON_AddItemToArray(drawn, cJSON_CreateString(line));
    }
    if (drawn->child)              /* no array of a document is empty */
        cJSON_AddItemToObject(w->manifest, "plots", drawn);
    else
        cJSON_Delete(drawn);
    if (left_out->child)
        cJSON_AddItemToObject(w->manifest, "plots_left_out", left_out);
    else
        cJSON_Delete(left_out);
    text_free(&names);
    text_free(&files);
    free(out);
    return status;
}

/* ---- The folder ------------------------------------------------------------------------------------------------------------- */

/* Hashes what is there by now, syncs it, and writes the manifest, which is hashed too. */
static kvant_status seal(const writer *w, char hash[SHA256_HEX])
{
    bundle_list *list;
    cJSON *files = cJSON_AddArrayToObject(w->manifest, "files");
    kvant_status status = bundle_files(w->folder, &list, w->err);
    for (size_t i = 0; !status && i < list->n; i++) {
        char *path = text_format("%s/%s", w->folder, list->path[i]), hex[SHA256_HEX];
        struct stat info;
        status = !path ? no_memory(w) : bundle_sync(path, w->err);
        if (!status)
            status = sha256_file(path, hex, w->err);
        if (!status && stat(path, &info))
            status = file_fail(w->err, path, "cannot be read");
        if (!status) {
            cJSON *file = cJSON_CreateObject();
            cJSON_AddStringToObject(file, "path", list->path[i]);
            cJSON_AddNumberToObject(file, "bytes", (double)info.st_size);
            cJSON_AddStringToObject(file, "sha256", hex);
            cJSON_AddItemToArray(files, file);
        }
        free(path);
    }
    bundle_list_free(status ? NULL : list);
    text t = { 0 };
    if (!status) {
        report_json(w->manifest, &t);
        sha256_of(t.data ? t.data : "", t.length, hash);
        status = put(w, "manifest.json", &t);
    }
    return status ? status : bundle_sync(w->folder, w->err);
}

static kvant_status fill(writer *w, char hash[SHA256_HEX])
{
    char *path = text_format("%s/store.db", w->folder);
    kvant_status status = path ? store_subset(w->o->store, w->o->experiment, path, w->err) : no_memory(w);
    if (!status)
        status = store_open(path, STORE_READ, &w->s, w->err);
    if (!status)
        status = describe(w);
    if (!status)
        status = write_spec(w);
    if (!status)
        status = write_reports(w);
    if (!status && w->o->plots)
        status = draw_plots(w);
    if (!status)
        status = write_commands(w);
    store_close(w->s);             /* before its file is hashed */
    w->s = NULL;
    free(path);
    return status ? status : seal(w, hash);
}

/* The experiment is there, and whole. */
static kvant_status check_experiment(const bundle_options *o, kvant_error *err)
{
    static const char sql[] = "SELECT count(*) AS cells, count(c.finished) AS finished FROM experiment_cell e JOIN cell c ON c.key = "
                              "e.cell WHERE e.experiment = ?1";
    store *s;
    kvant_status status = store_open(o->store, STORE_READ, &s, err);
    if (status)
        return status;
    status = report_find(s, o->experiment, err);
    cJSON *rows = status ? NULL : report_rows(s, sql, o->experiment, err);
    if (!status && !rows)
        status = KVANT_IO;
    const double cells = member_number(rows ? rows->child : NULL, "cells");
    const double done = member_number(rows ? rows->child : NULL, "finished");
    if (!status && !(cells > 0 && done >= cells))
        status = kvant_fail(err, KVANT_INVALID, "%s: %.0f of %.0f cells of '%s' are finished; run the rest of it first", o->store,
                            done, cells, o->experiment);
    cJSON_Delete(rows);
    store_close(s);
    return status;
}

/* Renames the folder to its place, where an empty one may be. */
static kvant_status place(const writer *w)
{
    if (rename(w->folder, w->o->folder) == 0)
        return KVANT_OK;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
        return kvant_fail(w->err, KVANT_INVALID, "%s: is there already, and not empty; name another folder, or remove it",
                          w->o->folder);
    return file_fail(w->err, w->o->folder, "cannot be made");
}

kvant_status bundle_write(const bundle_options *o, char hash[SHA256_HEX], kvant_error *err)
{
    writer w = { .o = o, .err = err };
    struct stat there;
    char target[4096];
    size_t length = strlen(o->folder);
    if (!length || length >= sizeof target)
        return kvant_fail(err, KVANT_INVALID, "the folder's path is %s", length ? "too long" : "empty");
    while (length > 1 && o->folder[length - 1] == '/')
        length--;
    snprintf(target, sizeof target, "%.*s", (int)length, o->folder);
    const bundle_options own = { o->store, o->experiment, target, o->plots };
    w.o = &own;
    /* Found out before the work, and again by the rename. */
    if (lstat(target, &there) == 0 && (!S_ISDIR(there.st_mode) || !bundle_empty(target)))
        return kvant_fail(err, KVANT_INVALID, "%s: is there already, and not empty; name another folder, or remove it", target);
    kvant_status status = check_experiment(&own, err);
    if (!status)
        status = make_folders(target, true, err);
    w.folder = status ? NULL : text_format("%s.new-XXXXXX", target);
    w.manifest = cJSON_CreateObject();
    if (!status && (!w.folder || !w.manifest))
        status = no_memory(&w);
    else if (!status && !mkdtemp(w.folder)) {
        status = file_fail(err, target, "no folder can be made beside it");
        free(w.folder);
        w.folder = NULL;
    }
    if (!status && chmod(w.folder, 0755))          /* mkdtemp's are for the owner alone */
        status = file_fail(err, w.folder, "its permissions cannot be set");
    if (!status)
        status = fill(&w, hash);
    if (!status)
        status = place(&w);
    if (status && w.folder)
        bundle_remove(w.folder);
    cJSON_Delete(w.manifest);
    free(w.folder);
    return status;
}
