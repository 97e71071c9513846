/* plot.c - finds plots, chooses what to draw and where to put it.
 * Names are checked against the folder's listing and the store, so that a misspelt one is told the nearest. */
#include "harness/report/plot_internal.h"
#include "harness/report/report.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void plot_names_free(plot_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

kvant_status plot_find(const char *folder, plot_names *names, kvant_error *err)
{
    *names = (plot_names){ .n = 0 };
    DIR *d = opendir(folder);
    if (!d)
        return kvant_fail(err, KVANT_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *e; (e = readdir(d)) && names->n < PLOTS_MAX;) {
        size_t length = strlen(e->d_name);
        if (length < 5 || e->d_name[0] == '.' || strcmp(e->d_name + length - 4, ".sql"))
            continue;
        names->name[names->n] = strndup(e->d_name, length - 4);
        if (!names->name[names->n++]) {
            closedir(d);
            names->n--;
            plot_names_free(names);
            return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", folder);
        }
    }
    closedir(d);
    qsort(names->name, names->n, sizeof *names->name, by_name);
    names->name[names->n] = NULL;
    return KVANT_OK;
}

static kvant_status check_name(const plot_options *o, kvant_error *err)
{
    plot_names names;
    kvant_status status = plot_find(o->folder, &names, err);
    if (status != KVANT_OK)
        return status;
    bool found = false;
    for (size_t i = 0; i < names.n; i++)
        found = found || !strcmp(names.name[i], o->name);
    const char *near = nearest_name(o->name, (const char *const *)names.name);
    if (!found && near)
        status = kvant_fail(err, KVANT_INVALID, "no plot '%.100s': did you mean '%s'?", o->name, near);
    else if (!found)
        status = kvant_fail(err, KVANT_INVALID, "no plot '%.100s'; `kvant plot` lists the plots", o->name);
    plot_names_free(&names);
    return status;
}

kvant_status plot_list(const char *folder, text *out, kvant_error *err)
{
    plot_names names;
    kvant_status status = plot_find(folder, &names, err);
    for (size_t i = 0; i < names.n && status == KVANT_OK; i++) {
        char *path = text_format("%s/%s.sql", folder, names.name[i]), *sql = NULL;
        size_t bytes;
        status = path ? file_read(path, &sql, &bytes, err) : kvant_fail(err, KVANT_NOMEM, "%s: out of memory", folder);
        if (status == KVANT_OK) {
            const char *line = sql + strspn(sql, "- ");
            text_add(out, "%-14s  %.*s\n", names.name[i], (int)strcspn(line, "\n"), line);
        }
        free(sql);
        free(path);
    }
    plot_names_free(&names);
    return status;
}

/* The store's only experiment, when none is named; freed by the caller. */
static kvant_status choose_experiment(store *s, const char *given, char **experiment, kvant_error *err)
{
    *experiment = NULL;
    if (given) {
        kvant_status status = report_find(s, given, err);
        if (status != KVANT_OK)
            return status;
        *experiment = strdup(given);
    } else {
        sqlite3_stmt *query;
        if (sqlite3_prepare_v2(store_sql(s), "SELECT max(name), count(*) FROM experiment", -1, &query, NULL) != SQLITE_OK ||
            sqlite3_step(query) != SQLITE_ROW || sqlite3_column_int64(query, 1) != 1) {
            sqlite3_finalize(query);
            return kvant_fail(err, KVANT_INVALID, "%s: holds no or several experiments: name one; `kvant report` lists them",
                              store_path(s));
        }
        *experiment = strdup((const char *)sqlite3_column_text(query, 0));
        sqlite3_finalize(query);
    }
    return *experiment ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "out of memory");
}

static const struct { const char *format, *suffix; } formats_known[] = {
    { "svg", "svg" }, { "png", "png" }, { "pdf", "pdf" }, { "tikz", "tex" }, { "cairolatex", "tex" },
    { NULL, NULL }
};

static const char *format_suffix(const char *format)
{
    size_t i = 0;
    while (formats_known[i].format && strcmp(format, formats_known[i].format))
        i++;
    return formats_known[i].suffix;
}

/* The format that a file's name asks for. */
static const char *suffix_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && formats_known[i].format; i++)
        if (!strcmp(dot + 1, formats_known[i].suffix))
            return formats_known[i].format;
    return NULL;
}

/* Columns of two-column papers, nearly alike everywhere: texts of 11 pixels are about 6 points there. */
static const plot_width widths[] = { { "single", 3.375, 460 }, { "double", 7.0, 940 } };

const plot_width *plot_width_named(const char *name)
{
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (!strcmp(widths[i].name, name))
            return &widths[i];
    return NULL;
}

/* DIR/EXPERIMENT-PLOT[-METRIC or QUESTION][-WIDTH].FORMAT, where --out names no file; what a path should not have becomes '_'. */
static char *file_name(const plot_options *o, const char *experiment, const char *metric, const char *format)
{
    if (suffix_of(o->out))
        return strdup(o->out);
    char *name = text_format("%s-%s%s%s%s%s.%s", experiment, o->name, metric ? "-" : "", metric ? metric : "", o->width ? "-" : "",
                             o->width ? o->width : "", format_suffix(format));
    for (char *c = name; c && *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+", *c) || (c == name && *c == '.'))
            *c = '_';
    char *path = name ? text_format("%s/%s", o->out, name) : NULL;
    free(name);
    return path;
}

static bool was_set(const plot_options *o, const char *key)
{
    for (const char *const *set = o->sets; set && *set; set++)
        if (!strncmp(*set, key, strlen(key)) && (*set)[strlen(key)] == '=')
            return true;
    return false;
}

kvant_status plot_draw(store *s, const plot_options *o, text *files, kvant_error *err)
{
    static const char *const svg[] = { "svg", NULL };
    const char *by_suffix[] = { suffix_of(o->out), NULL };
    const char *const *formats = o->formats ? o->formats : by_suffix[0] ? by_suffix : svg;
    for (const char *const *f = formats; *f; f++)
        if (by_suffix[0] && format_suffix(*f) && strcmp(format_suffix(*f), format_suffix(by_suffix[0])))
            return kvant_fail(err, KVANT_INVALID, "--format %s: the file %.200s is to be written, which ends otherwise", *f, o->out);
        else if (!format_suffix(*f))
            return kvant_fail(err, KVANT_INVALID, "--format %.40s: must be svg, png, pdf, tikz or cairolatex", *f);
    for (const char *const *f = formats; *f; f++)
        for (const char *const *g = formats; g < f; g++)
            if (strcmp(*f, *g) && !strcmp(format_suffix(*f), format_suffix(*g)))
                return kvant_fail(err, KVANT_INVALID, "--format %s and %s would write the same .tex; ask for them one by one", *g, *f);
    if (o->width && !plot_width_named(o->width))
        return kvant_fail(err, KVANT_INVALID, "--width %.40s: must be single or double", o->width);
    char *experiment = NULL;
    plot_data data = { .title = NULL };
    kvant_status status = check_name(o, err);
    if (status == KVANT_OK)
        status = choose_experiment(s, o->experiment, &experiment, err);
    if (status == KVANT_OK)
        status = plot_query(s, o, experiment, &data, err);
    for (const char *const *f = formats; *f && status == KVANT_OK; f++) {
        char *file = file_name(o, experiment, was_set(o, "metric") || was_set(o, "question") ? data.metric : NULL, *f);
        status = file ? plot_gnuplot(o, experiment, &data, *f, file, err) : kvant_fail(err, KVANT_NOMEM, "out of memory");
        char *graphics = status == KVANT_OK && !strcmp(*f, "cairolatex") ? plot_graphics_path(file) : NULL;
        if (status == KVANT_OK)
            text_add(files, "%s\n%s%s", file, graphics ? graphics : "", graphics ? "\n" : "");
        free(graphics);
        free(file);
    }
    plot_data_free(&data);
    free(experiment);
    return status;
}
