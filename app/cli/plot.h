/* Line charts as SVG files: axes with round ticks, a legend, colours that can be told apart on a
 * light and on a dark page and by people who see fewer of them. */
#ifndef CLI_PLOT_H
#define CLI_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "tributary/status.h"

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

/* Writes a file of its own; TRIB_IO names path and reason. */
trib_status plot_save(const struct plot *plot, const char *path, trib_error *error);

#endif
