/* pictures.h - what tests of plots share: gnuplot or a skip, and what is to be read in an SVG. */
#ifndef KVANT_TESTS_PICTURES_H
#define KVANT_TESTS_PICTURES_H

/* Skips the test where gnuplot is not installed. */
void need_gnuplot(void);

/* The text of an SVG file, with the entities that XML has read back; freed by the caller. */
char *svg_text(const char *path);

/* The words are the whole of a text element; each of a NULL-terminated list is. */
void assert_says(const char *svg, const char *words);
void assert_says_all(const char *svg, const char *const *words);

#endif
