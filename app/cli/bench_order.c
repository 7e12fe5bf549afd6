/* What the canonical order of attention costs.
 *
 * Beside the canonical fold stands the quickest one that keeps no promise: each thread folds its
 * share of the keys, or of the heads where there are enough, in one running state, without spans
 * and their merges, by the same kernels. The two take turns, so that the machine's drift meets
 * both, and the cost is that of their medians. */
#include "bench_order.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { CANONICAL, ANY, ORDERS };

struct turns {
    double *seconds[ORDERS]; /* [count] */
    size_t count, capacity;
    double median[ORDERS];
    uint64_t hash[ORDERS];
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool turns_room(struct turns *t)
{
    if (t->count < t->capacity)
        return true;
    size_t capacity = 2 * t->capacity + 64;
    for (size_t order = 0; order < ORDERS; order++) {
        double *larger = realloc(t->seconds[order], capacity * sizeof *larger);
        if (!larger)
            return false;
        t->seconds[order] = larger;
    }
    t->capacity = capacity;
    return true;
}

static trib_status time_one(struct attend_call *call, size_t order, size_t number, double *seconds,
                            trib_error *error)
{
    call->attention.any_order = order == ANY;
    double start = seconds_now();
    trib_status status = attend_run(call, number, error);
    *seconds = seconds_now() - start;
    return status;
}

/* One run of each, which first changes from turn to turn; all over other keys. */
static trib_status turn(struct turns *t, struct attend_call *call, trib_error *error)
{
    trib_status status = turns_room(t) ? TRIB_OK : bench_no_memory(error);
    for (size_t i = 0; i < ORDERS && status == TRIB_OK; i++) {
        size_t order = (i + t->count) % ORDERS;
        status = time_one(call, order, 2 * t->count + i, &t->seconds[order][t->count], error);
    }
    t->count += status == TRIB_OK;
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static trib_status turns_take(struct turns *t, struct attend_call *call, double seconds,
                              size_t repeat, trib_error *error)
{
    trib_status status = TRIB_OK;
    double ignored;
    for (size_t order = 0; order < ORDERS && status == TRIB_OK; order++) {
        status = time_one(call, order, 0, &ignored, error);
        t->hash[order] = states_hash(&call->states);
    }
    double start = seconds_now();
    while (status == TRIB_OK && (t->count < repeat || seconds_now() - start < 2 * seconds))
        status = turn(t, call, error);
    for (size_t order = 0; order < ORDERS && status == TRIB_OK; order++) {
        double *x = t->seconds[order];
        qsort(x, t->count, sizeof *x, compare);
        t->median[order] = 0.5 * (x[(t->count - 1) / 2] + x[t->count / 2]);
    }
    return status;
}

static int print(const struct turns *t, const struct bench_row *r, enum bench_format format,
                 bool first)
{
    double ms = 1e3 * t->median[CANONICAL], any = 1e3 * t->median[ANY], cost = ms / any - 1;
    char hash[ORDERS][17];
    for (size_t order = 0; order < ORDERS; order++)
        snprintf(hash[order], sizeof hash[order], "%016llx", (unsigned long long)t->hash[order]);
    bench_progress_end();
    if (format == BENCH_JSON)
        return print_json(json_pack(
            "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:f, s:f, s:f, s:I, s:s, s:s, s:s}",
            "case", "order", "of", r->name, "kv", r->kv, "layout", r->layout, "D", (json_int_t)r->D,
            "H", (json_int_t)r->H, "G", (json_int_t)r->G, "S", (json_int_t)r->S, "N",
            (json_int_t)r->N, "threads", r->threads, "ms", ms, "ms_any_order", any, "cost", cost,
            "runs", (json_int_t)t->count, "table", r->table, "hash", hash[CANONICAL],
            "hash_any_order", hash[ANY]));
    if (first)
        printf("\norder: the canonical fold, and one running state a thread for all of its keys\n"
               "%-7s %-5s %4s %3s %3s %7s %6s %11s %11s %7s %-11s %s\n",
               "of", "kv", "D", "H", "G", "S", "N", "canonical", "any, ms", "cost", "table",
               "hash");
    printf("%-7s %-5s %4zu %3zu %3zu %7zu %6zu %11.4f %11.4f %6.1f%% %-11s %s\n", r->name, r->kv,
           r->D, r->H, r->G, r->S, r->N, ms, any, 100 * cost, r->table, hash[CANONICAL]);
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}

int bench_order_row(const struct attend_call *call, const struct bench_row *like, double seconds,
                    size_t repeat, enum bench_format format, bool first, trib_error *error)
{
    struct attend_call ours = *call;
    struct turns t = {.count = 0};
    trib_status status = turns_take(&t, &ours, seconds, repeat, error);
    int result = status == TRIB_OK ? print(&t, like, format, first) : complain(error);
    for (size_t order = 0; order < ORDERS; order++)
        free(t.seconds[order]);
    return result;
}
