/* The report of a comparison as a page: one file, nothing loaded from anywhere. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "compare.h"
#include "output.h"
#include "plot.h"

static void write_row(const struct compare_row *row, FILE *out)
{
    fprintf(out,
            "<tr><th>%s<td>%" PRIu64 "<td>%zu<td>%zu<td>%.1f<td>%.0f<td>%.4f<td>%.4f<td>%" PRIu64,
            row->kind->name, row->parameters, row->width, row->steps, row->seconds,
            row->tokens / row->seconds, row->loss, row->bits, row->state_bytes);
    for (size_t i = 0; i < row->lengths; i++)
        fprintf(out, "<td>%.4f", row->milliseconds[i]);
    fputs("</tr>\n", out);
}

static void write_rows(const struct comparison *c, FILE *out)
{
    fputs("<div class=\"wide\"><table><tr><th>predictor<th>parameters<th>width<th>steps<th>seconds"
          "<th>tokens/s<th>nats per token<th>bits per byte<th>state, bytes",
          out);
    for (size_t i = 0; i < c->rows[0].lengths; i++)
        fprintf(out, "<th>ms at %.0f", c->rows[0].length[i]);
    fputs("</tr>\n", out);
    for (size_t r = 0; r < COMPARE_KINDS; r++)
        write_row(&c->rows[r], out);
    fputs("</table></div>\n", out);
}

static void write_recalls(const struct comparison *c, FILE *out)
{
    fputs("<div class=\"wide\"><table><tr><th>mean distance<th>all", out);
    for (size_t i = 0; i < c->recalls[0].bins; i++)
        fprintf(out, "<th>%.1f", c->recalls[0].distance[i]);
    fputs("</tr>\n", out);
    for (size_t r = 0; r < COMPARE_RECALLS; r++) {
        const struct compare_recall *recall = &c->recalls[r];
        fprintf(out, "<tr><th>%s<td>%.1f%%", recall->kind->name, 100 * recall->accuracy);
        for (size_t i = 0; i < recall->bins; i++)
            fprintf(out, "<td>%.1f%%", 100 * recall->share[i]);
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void draw_curves(const struct comparison *c, bool by_time, FILE *out)
{
    struct plot_series series[COMPARE_KINDS];
    for (size_t r = 0; r < COMPARE_KINDS; r++) {
        const struct compare_row *row = &c->rows[r];
        series[r] =
            (struct plot_series){row->kind->name, by_time ? row->point_seconds : row->point_tokens,
                                 row->point_bits, row->points, true};
    }
    struct plot plot = {.title =
                            by_time ? "Bits per byte against time" : "Bits per byte against tokens",
                        .x_label = by_time ? "seconds of training" : "tokens trained on",
                        .y_label = "bits per byte, validation",
                        .series = series,
                        .count = COMPARE_KINDS};
    plot_write(&plot, false, out);
}

static void draw_cost(const struct comparison *c, FILE *out)
{
    struct plot_series series[COMPARE_KINDS];
    for (size_t r = 0; r < COMPARE_KINDS; r++) {
        const struct compare_row *row = &c->rows[r];
        series[r] = (struct plot_series){row->kind->name, row->length, row->milliseconds,
                                         row->lengths, true};
    }
    struct plot plot = {.title = "Cost of one more token",
                        .x_label = "tokens before it",
                        .y_label = "milliseconds",
                        .log_x = true,
                        .log_y = true,
                        .legend_left = true,
                        .series = series,
                        .count = COMPARE_KINDS};
    plot_write(&plot, false, out);
}

static void draw_recall(const struct comparison *c, FILE *out)
{
    static const double chance[] = {0.1, 0.1};
    struct plot_series series[COMPARE_RECALLS + 1];
    const struct compare_recall *first = &c->recalls[0];
    double ends[2] = {first->distance[0], first->distance[first->bins - 1]};
    for (size_t r = 0; r < COMPARE_RECALLS; r++) {
        const struct compare_recall *recall = &c->recalls[r];
        series[r] = (struct plot_series){recall->kind->name, recall->distance, recall->share,
                                         recall->bins, true};
    }
    series[COMPARE_RECALLS] = (struct plot_series){"chance", ends, chance, 2, false};
    struct plot plot = {.title = "Associative recall",
                        .x_label = "tokens from a key's first place to its second",
                        .y_label = "share of right answers",
                        .series = series,
                        .count = COMPARE_RECALLS + 1};
    plot_write(&plot, false, out);
}

static void write_page(const void *what, FILE *out)
{
    const struct comparison *c = what;
    const struct compare_settings *s = &c->settings;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width\">\n"
          "<title>Predictors compared</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;"
          "max-width:60em;margin:2em auto;padding:0 1em;color:#1c2430;background:#fff}"
          "table{border-collapse:collapse;font-size:14px}th,td{padding:.25em .6em;"
          "text-align:right;border-bottom:1px solid #d8dde3}th:first-child{text-align:left}"
          ".wide{overflow-x:auto}@media(prefers-color-scheme:dark){body{color:#e4e8ee;"
          "background:#14181f}th,td{border-color:#39414d}}</style></head>\n<body>\n"
          "<h1>Predictors compared</h1>\n<p>",
          out);
    if (s->time > 0)
        fprintf(out, "Equal time: %g seconds each", (double)s->time);
    else
        fprintf(out, "Equal data: %zu steps of %zu tokens each", s->steps, s->batch * s->context);
    fprintf(out,
            ", about %zu parameters, context %zu, learning rate %g, seed %" PRIu64
            ", kernels %s. Curves are of %zu batches of the part that validates, the table of all "
            "of it.</p>\n",
            s->parameters, s->context, (double)s->lr, s->seed, c->kernels, s->eval_batches);
    write_rows(c, out);
    draw_curves(c, true, out);
    draw_curves(c, false, out);
    fputs("<p>Costs are measured by stepping a session. A recurrent state has one size; keys and "
          "values, and the states that attention looks back on, grow with the context.</p>\n",
          out);
    draw_cost(c, out);
    fprintf(out,
            "<p>Associative recall: %zu keys with their values, then one of the keys again; "
            "%zu steps of training.</p>\n",
            s->recall_pairs, s->recall_steps);
    write_recalls(c, out);
    draw_recall(c, out);
    fputs("</body></html>\n", out);
}

trib_status compare_page(const struct comparison *c, const char *path, trib_error *error)
{
    return save_file(path, write_page, c, error);
}
