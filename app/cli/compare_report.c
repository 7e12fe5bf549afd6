/* The report of a comparison for the terminal and for programs. */
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "compare.h"

static void print_rows(const struct comparison *c, FILE *out)
{
    const struct compare_row *first = &c->rows[0];
    fprintf(out, "%-22s %10s %9s %7s %9s %9s %11s", "predictor", "parameters", "tokens/s", "steps",
            "seconds", "bits/byte", "state bytes");
    for (size_t i = 0; i < first->lengths; i++)
        fprintf(out, "  ms@%-5.0f", first->length[i]);
    fputc('\n', out);
    for (size_t r = 0; r < COMPARE_KINDS; r++) {
        const struct compare_row *row = &c->rows[r];
        fprintf(out, "%-22s %10" PRIu64 " %9.0f %7zu %9.2f %9.4f %11" PRIu64, row->kind->name,
                row->parameters, row->tokens / row->seconds, row->steps, row->seconds, row->bits,
                row->state_bytes);
        for (size_t i = 0; i < row->lengths; i++)
            fprintf(out, "  %8.4f", row->milliseconds[i]);
        fputc('\n', out);
    }
}

static void print_recalls(const struct comparison *c, FILE *out)
{
    const struct compare_recall *first = &c->recalls[0];
    fprintf(out, "%-22s %10s %9s", "recall at distance", "parameters", "all");
    for (size_t i = 0; i < first->bins; i++)
        fprintf(out, " %6.1f", first->distance[i]);
    fputc('\n', out);
    for (size_t r = 0; r < COMPARE_RECALLS; r++) {
        const struct compare_recall *recall = &c->recalls[r];
        fprintf(out, "%-22s %10" PRIu64 " %8.1f%%", recall->kind->name, recall->parameters,
                100 * recall->accuracy);
        for (size_t i = 0; i < recall->bins; i++)
            fprintf(out, " %5.1f%%", 100 * recall->share[i]);
        fputc('\n', out);
    }
}

void compare_print(const struct comparison *c, FILE *out)
{
    const struct compare_settings *s = &c->settings;
    if (s->time > 0)
        fprintf(out, "equal time, %g s each", (double)s->time);
    else
        fprintf(out, "equal data, %zu steps of %zu tokens each", s->steps, s->batch * s->context);
    fprintf(out, "; context %zu, lr %g, seed %" PRIu64 ", kernels %s\n\n", s->context,
            (double)s->lr, s->seed, c->kernels);
    print_rows(c, out);
    fprintf(out,
            "\nms@N: milliseconds for one more token behind N; state bytes: kept at the longest\n\n"
            "%zu pairs, %zu steps of training; 10%% is chance\n",
            s->recall_pairs, s->recall_steps);
    print_recalls(c, out);
}

static json_t *json_of_row(const struct compare_row *row)
{
    json_t *curve = json_array(), *cost = json_array();
    for (size_t i = 0; i < row->points; i++)
        json_array_append_new(curve, json_pack("{s:f, s:f, s:f}", "tokens", row->point_tokens[i],
                                               "seconds", row->point_seconds[i], "bits_per_byte",
                                               row->point_bits[i]));
    for (size_t i = 0; i < row->lengths; i++)
        json_array_append_new(cost, json_pack("{s:I, s:f}", "context", (json_int_t)row->length[i],
                                              "milliseconds", row->milliseconds[i]));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:o, s:o}", "name",
                     row->kind->name, "parameters", (json_int_t)row->parameters, "width",
                     (json_int_t)row->width, "steps", (json_int_t)row->steps, "tokens",
                     (json_int_t)row->tokens, "seconds", row->seconds, "tokens_per_second",
                     row->tokens / row->seconds, "loss", row->loss, "bits_per_byte", row->bits,
                     "state_bytes", (json_int_t)row->state_bytes, "curve", curve, "cost", cost);
}

static json_t *json_of_recall(const struct compare_recall *r)
{
    json_t *bins = json_array();
    for (size_t i = 0; i < r->bins; i++)
        json_array_append_new(bins,
                              json_pack("{s:f, s:f, s:I}", "distance", r->distance[i], "accuracy",
                                        r->share[i], "queries", (json_int_t)r->queries[i]));
    return json_pack("{s:s, s:I, s:f, s:f, s:f, s:o}", "name", r->kind->name, "parameters",
                     (json_int_t)r->parameters, "tokens", r->tokens, "seconds", r->seconds,
                     "accuracy", r->accuracy, "by_distance", bins);
}

int compare_print_json(const struct comparison *c)
{
    const struct compare_settings *s = &c->settings;
    json_t *rows = json_array(), *recalls = json_array();
    for (size_t i = 0; i < COMPARE_KINDS; i++)
        json_array_append_new(rows, json_of_row(&c->rows[i]));
    for (size_t i = 0; i < COMPARE_RECALLS; i++)
        json_array_append_new(recalls, json_of_recall(&c->recalls[i]));
    return print_json(json_pack(
        "{s:o, s:s, s:o, s:I, s:I, s:f, s:I, s:s, s:I, s:I, s:o, s:o}", "text",
        json_text(s->text, strlen(s->text)), "equal", s->time > 0 ? "time" : "data", "vocabulary",
        json_text(s->vocabulary, strlen(s->vocabulary)), "context", (json_int_t)s->context, "batch",
        (json_int_t)s->batch, "lr", (double)s->lr, "seed", (json_int_t)s->seed, "kernels",
        c->kernels, "recall_pairs", (json_int_t)s->recall_pairs, "recall_steps",
        (json_int_t)s->recall_steps, "predictors", rows, "recall", recalls));
}
