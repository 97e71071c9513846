/* html_figures.c - the pictures of a page: each probe's own plots, drawn by gnuplot, below the heading of its first table.
 * What cannot be drawn is no reason to have no report: the page says why the picture is missing. */
#include "harness/report/html.h"
#include "harness/report/plot.h"

#include <stdlib.h>
#include <string.h>

static kvant_status add_reason(cJSON *figures, const char *reason, kvant_error *err)
{
    cJSON *figure = cJSON_CreateObject();
    if (cJSON_AddStringToObject(figure, "reason", reason) && cJSON_AddItemToArray(figures, figure))
        return KVANT_OK;
    cJSON_Delete(figure);
    return kvant_fail(err, KVANT_NOMEM, "out of memory");
}

/* One picture, with the command that draws it again. */
static kvant_status add_picture(const cJSON *plot, const char *svg, const report_options *options, cJSON *figures, unsigned *number,
                                kvant_error *err)
{
    const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(plot, 0)), *set = cJSON_GetStringValue(cJSON_GetArrayItem(plot, 1));
    const char *shows = cJSON_GetStringValue(cJSON_GetArrayItem(plot, 2));
    char *title = text_format("%s: %s%s%s", options->experiment, name, *set ? ", " : "", set);
    char *description = text_format("%s. The numbers are in the tables of this probe.", shows);
    char *caption = text_format("%s. kvant plot %s %s%s%s", shows, name, options->experiment, *set ? " --set " : "", set);
    text picture = { 0 };
    kvant_status status = KVANT_OK;
    cJSON *figure = cJSON_CreateObject();
    ++*number;
    const bool whole = title && description && html_svg(svg, *number, title, description, &picture);
    if (!title || !description || !caption || picture.failed)
        status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", name);
    else if (!whole)
        status = add_reason(figures, "the picture that gnuplot drew holds elements that a page should not have", err);
    else if (cJSON_AddStringToObject(figure, "svg", picture.data) && cJSON_AddStringToObject(figure, "caption", caption) &&
             cJSON_AddItemToArray(figures, figure))
        figure = NULL;
    else
        status = kvant_fail(err, KVANT_NOMEM, "plot %s: out of memory", name);
    cJSON_Delete(figure);
    text_free(&picture);
    free(title);
    free(description);
    free(caption);
    return status;
}

/* All plots of a probe; of alternatives of one plot the first that has something to draw. */
static kvant_status draw_plots(store *s, const cJSON *plots, const report_options *options, cJSON *figures, unsigned *number,
                               kvant_error *err)
{
    const cJSON *plot;
    const char *drawn = "";
    char reason[sizeof err->text] = "no plot is for this probe";
    cJSON_ArrayForEach(plot, plots) {
        const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(plot, 0)), *set = cJSON_GetStringValue(cJSON_GetArrayItem(plot, 1));
        const char *sets[] = { *set ? set : NULL, NULL };
        const plot_options o = { options->plots, name, options->experiment, NULL, NULL, sets, NULL };
        char *svg = NULL;
        if (!strcmp(name, drawn))
            continue;
        kvant_error why;
        kvant_status status = plot_svg(s, &o, &svg, &why);
        if (status == KVANT_INTERRUPTED || status == KVANT_NOMEM)
            return kvant_fail(err, status, "%s", why.text);
        if (status) {
            snprintf(reason, sizeof reason, "%s", why.text);
            continue;
        }
        drawn = name;
        status = add_picture(plot, svg, options, figures, number, err);
        free(svg);
        if (status)
            return status;
    }
    return *drawn ? KVANT_OK : add_reason(figures, options->plots ? reason : "drawn without plots", err);
}

kvant_status html_figures(store *s, cJSON *report, const report_options *options, kvant_error *err)
{
    cJSON *blocks = cJSON_GetObjectItemCaseSensitive(report, "blocks"), *block, *earlier;
    unsigned drawn = 0;
    cJSON_ArrayForEach(block, blocks) {
        const char *probe = member_text(block, "probe");
        bool seen = false;
        for (earlier = blocks->child; earlier != block && !seen; earlier = earlier->next)
            seen = !strcmp(member_text(earlier, "probe"), probe);
        if (seen) {
            if (!cJSON_AddTrueToObject(block, "figures_above"))
                return kvant_fail(err, KVANT_NOMEM, "%s: out of memory", options->experiment);
            continue;
        }
        cJSON *figures = cJSON_AddArrayToObject(block, "figures"), *plots = NULL;
        kvant_status status = !figures ? kvant_fail(err, KVANT_NOMEM, "%s: out of memory", options->experiment)
                              : options->plots ? plot_for_probe(options->plots, probe, &plots, err) : KVANT_OK;
        if (!status)
            status = draw_plots(s, plots, options, figures, &drawn, err);
        cJSON_Delete(plots);
        if (status)
            return status;
    }
    return KVANT_OK;
}

void html_figure(const cJSON *block, text *out)
{
    const cJSON *figure;
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(block, "figures_above")))
        text_add(out, "<p class=\"note\">The pictures of this probe stand at its first table.</p>\n");
    cJSON_ArrayForEach(figure, cJSON_GetObjectItemCaseSensitive(block, "figures")) {
        const char *svg = member_text(figure, "svg");
        if (*svg) {
            text_add(out, "<figure>\n<div class=\"picture\" tabindex=\"0\">%s</div>\n<figcaption>", svg);
            html_text(out, member_text(figure, "caption"));
            text_add(out, "</figcaption>\n</figure>\n");
        } else {
            text_add(out, "<p class=\"note\">No picture: ");
            html_text(out, member_text(figure, "reason"));
            text_add(out, "</p>\n");
        }
    }
}
