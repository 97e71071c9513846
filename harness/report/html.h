/* html.h - what the files of the HTML page share: escaping, pictures, samples, summary and the details of each cell. */
#ifndef KVANT_HTML_H
#define KVANT_HTML_H

#include "harness/report/format.h"

/* Text for an element or a quoted attribute: markup becomes entities, control characters other than line ends and tabs are dropped,
 * and bytes that are no UTF-8 become U+FFFD. */
void html_text(text *out, const char *words);
/* Adds gnuplot's SVG as an element of the page, the number-th picture in it. False, with whatever in *out: it holds something that
 * such pictures do not have. */
bool html_svg(const char *svg, unsigned number, const char *title, const char *description, text *out);

/* Gives the first block of each probe its "figures": [{"svg", "caption"} or {"reason"}]: every plot whose query says that it is for
 * this probe. Its others get "figures_above": true. KVANT_INTERRUPTED, KVANT_NOMEM, KVANT_IO (no such folder); what cannot be drawn is
 * a reason. */
kvant_status html_figures(store *s, cJSON *report, const report_options *options, kvant_error *err);
void html_figure(const cJSON *block, text *out);

void html_summary(const cJSON *report, text *out);
void html_cells(const cJSON *report, text *out);       /* each with its JSON, the page's id cell-NUMBER */

extern const char page_css[], page_js[];

#endif
