/* Line charts as SVG files: axes with round ticks, a legend, colours that can be told apart on a
 * light and on a dark page and by people who see fewer of them. */
#ifndef CLI_PLOT_H
#define CLI_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct plot_series {
    const char *name;
    const double *x, *y; /* [count]; points that are not finite are left out */
    size_t count;
    bool points; /* mark each point */
};

struct plot {
    const char *title, *x_label, *y_label;
    bool log_x, log_y; /* logarithmic axes: points that are not above 0 are left out */
    bool legend_left;  /* the names at the left: for lines that end high */
    const struct plot_series *series;
    size_t count; /* series */
};

enum { PLOT_WIDTH = 720, PLOT_HEIGHT = 440 };

/* Writes an <svg> element; it may stand in a page of HTML, or, with `alone`, be a file of its own.
 */
void plot_write(const struct plot *plot, bool alone, FILE *out);

/* Writes the file beside its place and moves it there. False, errno saying why, when that failed.
 */
bool plot_save(const struct plot *plot, const char *path);

/* The same for any text: what `write` writes of `what`. */
bool save_file(const char *path, void (*write)(const void *what, FILE *out), const void *what);

#endif
