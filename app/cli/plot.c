/* Writing charts. */
#include "plot.h"

#include <math.h>

#include "output.h"

/* Margins around the area of the lines. */
enum { LEFT = 64, RIGHT = 24, TOP = 44, BOTTOM = 52, TICKS = 6, POINTS_MOST = 1500 };

/* Okabe and Ito 2008, "Color Universal Design", without yellow, and with gray for black, which
 * would vanish on a dark page. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#8c8c8c"};

enum { COLOURS = sizeof colours / sizeof colours[0] };

/* One axis: values from low to high lie between two pixels. */
struct axis {
    double low, high; /* of log10 of the values where `logarithmic` */
    double first, last;
    bool logarithmic;
};

static double scaled(const struct axis *axis, double value)
{
    return axis->logarithmic ? log10(value) : value;
}

static double pixel(const struct axis *axis, double value)
{
    double share = (scaled(axis, value) - axis->low) / (axis->high - axis->low);
    return axis->first + share * (axis->last - axis->first);
}

static bool usable(const struct plot *p, double x, double y)
{
    return isfinite(x) && isfinite(y) && !(p->log_x && !(x > 0)) && !(p->log_y && !(y > 0));
}

/* The range of all points; something that can be drawn also where there are none. */
static void find_range(const struct plot *p, struct axis *horizontal, struct axis *vertical)
{
    horizontal->low = vertical->low = INFINITY;
    horizontal->high = vertical->high = -INFINITY;
    for (size_t s = 0; s < p->count; s++)
        for (size_t i = 0; i < p->series[s].count; i++) {
            double x = p->series[s].x[i], y = p->series[s].y[i];
            if (!usable(p, x, y))
                continue;
            horizontal->low = fmin(horizontal->low, scaled(horizontal, x));
            horizontal->high = fmax(horizontal->high, scaled(horizontal, x));
            vertical->low = fmin(vertical->low, scaled(vertical, y));
            vertical->high = fmax(vertical->high, scaled(vertical, y));
        }
    struct axis *axes[] = {horizontal, vertical};
    for (size_t i = 0; i < 2; i++) {
        if (!(axes[i]->low <= axes[i]->high))
            axes[i]->low = axes[i]->high = 0;
        if (axes[i]->high - axes[i]->low < 1e-9 * (1 + fabs(axes[i]->low))) {
            axes[i]->low -= 0.5;
            axes[i]->high += 0.5;
        }
    }
    double room = 0.04 * (vertical->high - vertical->low);
    vertical->low -= room;
    vertical->high += room;
}

/* The largest of 1, 2, 5 times a power of ten that gives at least about TICKS ticks. */
static double round_step(double range)
{
    double step = pow(10, floor(log10(range / TICKS)));
    double most = range / TICKS;
    return 5 * step <= most ? 5 * step : 2 * step <= most ? 2 * step : step;
}

static void write_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else
            fputc(*text, out);
    }
}

static void write_tick(const struct axis *axis, bool is_x, double value, FILE *out)
{
    double at = pixel(axis, value);
    if (is_x)
        fprintf(out,
                "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                "text-anchor=\"middle\">%.6g</text>\n",
                at, TOP, PLOT_HEIGHT - BOTTOM, at, PLOT_HEIGHT - BOTTOM + 18, value);
    else
        fprintf(out,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%.6g</text>\n",
                LEFT, at, PLOT_WIDTH - RIGHT, LEFT - 8, at + 4, value);
}

/* Round numbers; on a logarithmic axis 1, 2 and 5 of each power of ten, or powers alone where there
 * are many. */
static void write_ticks(const struct axis *axis, bool is_x, FILE *out)
{
    if (axis->logarithmic) {
        static const double digits[] = {1, 2, 5};
        size_t used = axis->high - axis->low > 3 ? 1 : 3;
        for (double power = floor(axis->low); power <= axis->high; power++)
            for (size_t d = 0; d < used; d++) {
                double value = digits[d] * pow(10, power);
                if (log10(value) >= axis->low - 1e-9 && log10(value) <= axis->high + 1e-9)
                    write_tick(axis, is_x, value, out);
            }
        return;
    }
    double step = round_step(axis->high - axis->low);
    for (double n = ceil(axis->low / step - 1e-9); n * step <= axis->high + 1e-9 * step; n++)
        write_tick(axis, is_x, n * step, out);
}

/* A line through at most POINTS_MOST points: of more, each stands for the mean of its neighbours,
 * as a screen could not show them all. */
static void write_series(const struct plot *p, size_t s, const struct axis *horizontal,
                         const struct axis *vertical, FILE *out)
{
    const struct plot_series *series = &p->series[s];
    const char *colour = colours[s % COLOURS];
    size_t each = series->count / POINTS_MOST + 1;
    bool begun = false;
    fprintf(out, "<path class=\"line\" stroke=\"%s\" d=\"", colour);
    for (size_t from = 0; from < series->count; from += each) {
        double x = 0, y = 0, used = 0;
        for (size_t i = from; i < series->count && i < from + each; i++)
            if (usable(p, series->x[i], series->y[i])) {
                x += series->x[i];
                y += series->y[i];
                used++;
            }
        if (used > 0) {
            fprintf(out, "%s%.1f %.1f", begun ? "L" : "M", pixel(horizontal, x / used),
                    pixel(vertical, y / used));
            begun = true;
        }
    }
    fprintf(out, "\"/>\n");
    for (size_t i = 0; series->points && i < series->count; i++)
        if (usable(p, series->x[i], series->y[i]))
            fprintf(out, "<circle r=\"3\" cx=\"%.1f\" cy=\"%.1f\" fill=\"%s\"/>\n",
                    pixel(horizontal, series->x[i]), pixel(vertical, series->y[i]), colour);
    double y = TOP + 16 + 20 * (double)s;
    int line = p->legend_left ? LEFT + 8 : PLOT_WIDTH - RIGHT - 30;
    fprintf(out,
            "<path class=\"line\" stroke=\"%s\" d=\"M%d %.1fh22\"/><text x=\"%d\" y=\"%.1f\" "
            "text-anchor=\"%s\">",
            colour, line, y, p->legend_left ? line + 30 : line - 8, y + 4,
            p->legend_left ? "start" : "end");
    write_text(series->name, out);
    fputs("</text>\n", out);
}

void plot_write(const struct plot *p, bool alone, FILE *out)
{
    struct axis horizontal = {.first = LEFT, .last = PLOT_WIDTH - RIGHT, .logarithmic = p->log_x};
    struct axis vertical = {.first = PLOT_HEIGHT - BOTTOM, .last = TOP, .logarithmic = p->log_y};
    find_range(p, &horizontal, &vertical);
    if (alone)
        fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", out);
    fprintf(
        out,
        "<svg%s viewBox=\"0 0 %d %d\" class=\"plot\" "
        "role=\"img\">\n<style>.plot{--ink:#1c2430;--paper:#fff;--faint:#d8dde3;max-width:%dpx}"
        "@media(prefers-color-scheme:dark){.plot{--ink:#e4e8ee;--paper:#14181f;--faint:#39414d}"
        "}.plot text{font:13px system-ui,sans-serif;fill:var(--ink)}.plot .title{font-size:16px;"
        "font-weight:600}.plot .grid{stroke:var(--faint);fill:none}.plot .line{fill:none;"
        "stroke-width:1.8;stroke-linejoin:round}</style>\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"var(--paper)\"/>\n<text class=\"title\" "
        "x=\"%d\" y=\"26\">",
        alone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH,
        PLOT_WIDTH, PLOT_HEIGHT, LEFT);
    write_text(p->title, out);
    fputs("</text>\n", out);
    write_ticks(&horizontal, true, out);
    write_ticks(&vertical, false, out);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + PLOT_WIDTH - RIGHT) / 2,
            PLOT_HEIGHT - 10);
    write_text(p->x_label, out);
    fprintf(out, "</text>\n<text transform=\"translate(16 %d)rotate(-90)\" text-anchor=\"middle\">",
            (TOP + PLOT_HEIGHT - BOTTOM) / 2);
    write_text(p->y_label, out);
    fputs("</text>\n", out);
    for (size_t s = 0; s < p->count; s++)
        write_series(p, s, &horizontal, &vertical, out);
    fputs("</svg>\n", out);
}

static void write_alone(const void *what, FILE *out)
{
    plot_write(what, true, out);
}

trib_status plot_save(const struct plot *p, const char *path, trib_error *error)
{
    return save_file(path, write_alone, p, error);
}
