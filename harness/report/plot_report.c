/* plot_report.c - pictures for reports: which plots belong to a probe, by the heads of their queries, and a picture as text.
 * A new plot says itself where it belongs, so that no code knows the plots. */
#include "harness/report/plot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

kvant_status plot_svg(store *s, const plot_options *options, char **svg, kvant_error *err)
{
    static const char *const formats[] = { "svg", NULL };
    char folder[] = P_tmpdir "/kvant-report-XXXXXX";
    *svg = NULL;
    if (!mkdtemp(folder))
        return kvant_fail(err, KVANT_IO, "%s: cannot write there: %s", P_tmpdir, strerror(errno));
    plot_options o = *options;
    char *file = text_format("%s/picture.svg", folder);
    text files = { 0 };
    size_t bytes;
    o.out = file;
    o.formats = formats;
    kvant_status status = file ? plot_draw(s, &o, &files, err) : kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o.name);
    if (!status)
        status = file_read(file, svg, &bytes, err);
    if (file)
        unlink(file);
    rmdir(folder);
    free(file);
    text_free(&files);
    return status;
}

/* Adds what a query's head says of the probe. */
static bool add_lines(const char *plot, const char *sql, const char *probe, cJSON *plots)
{
    static const char mark[] = "report: ";
    char *title = plot_title(sql), *parameter = NULL;
    bool ok = title != NULL;
    for (const char *line = sql; ok && !strncmp(line, "--", 2); line += strcspn(line, "\n"), line += *line == '\n') {
        const char *c = line + 2 + strspn(line + 2, " ");
        if (strncmp(c, mark, strlen(mark)))
            continue;
        c += strlen(mark);
        const size_t n = strcspn(c, " \n");
        if (n != strlen(probe) || strncmp(c, probe, n))
            continue;
        c += n + strspn(c + n, " ");
        parameter = strndup(c, strcspn(c, " \n"));
        const char *const row[] = { plot, parameter, title };
        cJSON *item = parameter ? cJSON_CreateStringArray(row, 3) : NULL;
        free(parameter);
        ok = item && cJSON_AddItemToArray(plots, item);
    }
    free(title);
    return ok;
}

kvant_status plot_for_probe(const char *folder, const char *probe, cJSON **plots, kvant_error *err)
{
    plot_names names;
    *plots = NULL;
    kvant_status status = plot_find(folder, &names, err);
    if (status)
        return status;
    cJSON *found = cJSON_CreateArray();
    for (size_t i = 0; i < names.n && !status; i++) {
        char *path = text_format("%s/%s.sql", folder, names.name[i]), *sql = NULL;
        size_t bytes;
        status = path && found ? file_read(path, &sql, &bytes, err) : kvant_fail(err, KVANT_NOMEM, "%s: out of memory", folder);
        if (!status && !add_lines(names.name[i], sql, probe, found))
            status = kvant_fail(err, KVANT_NOMEM, "%s: out of memory", folder);
        free(sql);
        free(path);
    }
    plot_names_free(&names);
    if (status)
        cJSON_Delete(found);
    else
        *plots = found;
    return status;
}
