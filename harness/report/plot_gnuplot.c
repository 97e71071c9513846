/* plot_gnuplot.c - runs gnuplot on a plot's rows in a folder of its own beside the picture, and moves the picture into place.
 * No shell, no start-up files of the user: what is drawn depends on the store and the plot alone. */
#include "harness/process.h"
#include "harness/report/plot_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Files of one drawing. */
typedef struct { char *folder, *rows, *script, *picture, *graphics, *complaints; } work;

static void remove_work(work *w)
{
    char *const files[] = { w->rows, w->script, w->picture, w->graphics, w->complaints };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i])
            unlink(files[i]);
        free(files[i]);
    }
    if (w->folder)
        rmdir(w->folder);
    free(w->folder);
}

static kvant_status make_work(const char *file, const char *format, work *w, kvant_error *err)
{
    *w = (work){ .folder = NULL };
    kvant_status status = make_folders(file, true, err);
    if (status != KVANT_OK)
        return status;
    const char *slash = strrchr(file, '/');
    int length = slash ? (int)(slash - file) + 1 : 0;
    char *folder = text_format("%.*s.kvant-plot-XXXXXX", length, file);
    if (folder && !mkdtemp(folder)) {
        status = kvant_fail(err, KVANT_IO, "%s: cannot write there: %s; give another place by --out", file, strerror(errno));
        free(folder);
        return status;
    }
    w->folder = folder;
    w->rows = folder ? text_format("%s/rows.tsv", folder) : NULL;
    w->script = folder ? text_format("%s/script.gp", folder) : NULL;
    w->picture = folder ? text_format("%s/picture.%s", folder, !strcmp(format, "cairolatex") ? "tex" : format) : NULL;
    w->graphics = folder ? text_format("%s/picture.pdf", folder) : NULL;         /* of cairolatex, or the picture itself */
    w->complaints = folder ? text_format("%s/complaints.txt", folder) : NULL;
    return w->rows && w->script && w->picture && w->graphics && w->complaints
        ? KVANT_OK : kvant_fail(err, KVANT_NOMEM, "%s: out of memory", file);
}

static void assign(text *script, const char *name, const char *value)
{
    text_add(script, "%s = ", name);
    gnuplot_string(script, value);
    text_add(script, "\n");
}

static kvant_status write_script(const plot_options *o, const char *experiment, const plot_data *data, const char *format,
                                 const work *w, kvant_error *err)
{
    text script = { 0 };
    char *style = text_format("%s/style.gp", o->folder), *drawing = text_format("%s/%s.gp", o->folder, o->name);
    assign(&script, "DATA", w->rows);
    assign(&script, "STYLE", style ? style : "");
    assign(&script, "FORMAT", format);
    assign(&script, "OUTPUT", w->picture);
    assign(&script, "EXPERIMENT", experiment);
    assign(&script, "METRIC", data->metric ? data->metric : "");
    assign(&script, "TITLE", data->title);
    const plot_width *width = o->width ? plot_width_named(o->width) : NULL;
    text_add(&script, "INCHES = %.4g\nPIXELS = %d\n", width ? width->inches : 0, width ? width->pixels : 0);
    text_add(&script, "fit(n, base, each) = !PIXELS || n < 2 || base + each * n <= PIXELS ? n : fit(n - 1, base, each)\n");
    text_add(&script, "%sload ", data->variables.data);
    gnuplot_string(&script, drawing ? drawing : "");
    text_add(&script, "\n");
    kvant_status status = script.failed || !style || !drawing
        ? kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", o->name)
        : file_write(w->script, script.data, script.length, err);
    if (status == KVANT_OK)
        status = file_write(w->rows, data->data.data, data->data.length, err);
    text_free(&script);
    free(style);
    free(drawing);
    return status;
}

/* The first line of what gnuplot complained of that says something. */
static kvant_status complain(const plot_options *o, const work *w, kvant_error *err)
{
    char *said = NULL;
    size_t bytes;
    const char *line = "it wrote no picture";
    int length = (int)strlen(line);
    if (file_read(w->complaints, &said, &bytes, NULL) == KVANT_OK)
        for (char *c = said; *c; c += strcspn(c, "\n"), c += *c == '\n') {
            size_t n = strcspn(c, "\n"), blank = strspn(c, " ^\t");
            if (n > blank && !strstr(c, "warning")) {
                line = c + blank;
                length = (int)(n - blank);
            }
        }
    kvant_status status = kvant_fail(err, KVANT_FAILED, "plot %s: gnuplot: %.*s", o->name, length, line);
    free(said);
    return status;
}

static kvant_status run_gnuplot(const plot_options *o, const work *w, kvant_error *err)
{
    static const char *const remedy = "gnuplot is not installed (on Debian: apt-get install gnuplot-nox)";
    const char *const command[] = { "gnuplot", "-d", w->script, NULL };
    pid_t child;
    int status;
    const int complaints = open(w->complaints, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (complaints < 0)
        return file_fail(err, w->complaints, "cannot write");
    const int code = process_start(command, NULL, complaints, NULL, &child);
    close(complaints);
    if (code)
        return kvant_fail(err, KVANT_IO, "plot %s: %s", o->name, code == ENOENT ? remedy : strerror(code));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return kvant_fail(err, KVANT_IO, "plot %s: lost gnuplot: %s", o->name, strerror(errno));
    struct stat info;
    /* Ctrl-C reaches gnuplot, too, maybe first. */
    if (interrupted() || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM)))
        return kvant_fail(err, KVANT_INTERRUPTED, "plot %s: interrupted", o->name);
    if (!WIFEXITED(status) || WEXITSTATUS(status) || stat(w->picture, &info) || info.st_size == 0)
        return complain(o, w, err);
    return KVANT_OK;
}

/* What gnuplot leaves to be done: TikZ's texts, and the width in inches (0: for a screen). */
static kvant_status finish_picture(const work *w, const char *format, double inches, kvant_error *err)
{
    char *raw = NULL;
    unsigned char *png = NULL;
    text picture = { 0 };
    size_t bytes, png_bytes = 0;
    kvant_status status = file_read(w->picture, &raw, &bytes, err);
    if (status != KVANT_OK)
        return status;
    if (!strcmp(format, "tikz"))
        plot_tikz_escape(raw, inches, &picture);
    else if (!strcmp(format, "svg"))
        status = plot_svg_inches(raw, inches, &picture, err);
    else
        status = plot_png_inches((const unsigned char *)raw, bytes, inches, &png, &png_bytes, err);
    if (picture.failed)
        status = kvant_fail(err, KVANT_NOMEM, "%s: out of memory", w->picture);
    else if (status == KVANT_OK)
        status = file_write(w->picture, png ? (const char *)png : picture.data, png ? png_bytes : picture.length, err);
    text_free(&picture);
    free(png);
    free(raw);
    return status;
}

char *plot_graphics_path(const char *file)
{
    return text_format("%.*s-graphics.pdf", (int)(strlen(file) - strlen(".tex")), file);
}

/* FILE.tex gets FILE-graphics.pdf beside it, which is moved first: the text without it would be no picture. */
static kvant_status finish_cairolatex(const work *w, const char *file, double inches, kvant_error *err)
{
    char *raw = NULL;
    char *path = plot_graphics_path(file), *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
    char *graphics = path ? strndup(name, strlen(name) - strlen(".pdf")) : NULL;
    text tex = { 0 };
    size_t bytes;
    kvant_status status = graphics ? file_read(w->picture, &raw, &bytes, err)
                                   : kvant_fail(err, KVANT_NOMEM, "%s: out of memory", file);
    if (status == KVANT_OK) {
        plot_cairolatex_escape(raw, graphics, inches, &tex);
        status = tex.failed ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", file)
                            : file_write(w->picture, tex.data, tex.length, err);
    }
    if (status == KVANT_OK && rename(w->graphics, path))
        status = kvant_fail(err, KVANT_IO, "%s: cannot write: %s", path, strerror(errno));
    text_free(&tex);
    free(graphics);
    free(path);
    free(raw);
    return status;
}

kvant_status plot_gnuplot(const plot_options *o, const char *experiment, const plot_data *data, const char *format, const char *file,
                          kvant_error *err)
{
    work w;
    kvant_status status = make_work(file, format, &w, err);
    if (status == KVANT_OK)
        status = write_script(o, experiment, data, format, &w, err);
    if (status == KVANT_OK)
        status = run_gnuplot(o, &w, err);
    const double inches = o->width ? plot_width_named(o->width)->inches : 0;
    if (status == KVANT_OK && (!strcmp(format, "tikz") || (inches > 0 && (!strcmp(format, "svg") || !strcmp(format, "png")))))
        status = finish_picture(&w, format, inches, err);
    if (status == KVANT_OK && !strcmp(format, "cairolatex"))
        status = finish_cairolatex(&w, file, inches, err);
    if (status == KVANT_OK && rename(w.picture, file))
        status = kvant_fail(err, KVANT_IO, "%s: cannot write: %s", file, strerror(errno));
    remove_work(&w);
    return status;
}
