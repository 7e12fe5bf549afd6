/* The driver of products with packed weights: which class a type belongs to, and which thread does
 * what. How weights are laid out and multiplied, the classes know.
 *
 * All jobs are one list of panels. Threads take runs of it, long ones first: a run is one stretch
 * of memory, and a thread that falls behind leaves the rest to the others. A panel is computed by
 * one thread, so who takes it shows in no bit.
 */
#include <assert.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/size.h"
#include "kernel/weight_class.h"

/* Below this many multiply-adds waking the team costs more than it saves; the same of elements of x
 * that are to be prepared. */
enum { SMALL_WORK = 1 << 16, SMALL_ROWS = 1 << 14 };

/* A thread takes this part of what is left, divided by the threads. */
enum { SHARE = 2 };

static const struct weight_class *class_of(enum dtype type)
{
    bool dense = type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
    return dense ? &weight_dense : &weight_quant;
}

static size_t panels_of(const struct weight *weight)
{
    return size_ceil_div(weight->outputs, class_of(weight->type)->panel_outputs);
}

/* ---- Packing ---- */

size_t weight_bytes(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs)
{
    return class_of(type)->bytes(kernels, type, outputs, inputs);
}

void weight_pack(struct weight *weight, const struct kernels *kernels, enum dtype type,
                 size_t outputs, size_t inputs, const void *stored, void *memory, int threads)
{
    *weight = (struct weight){kernels, type, outputs, inputs, memory};
    const struct weight_class *class = class_of(type);
    size_t panels = panels_of(weight);
#pragma omp parallel for schedule(guided) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < panels; i++)
        class->pack(weight, stored, i, i + 1);
}

/* ---- Rows of x ---- */

static const enum dtype types[] = {
#define TYPE_OF(name, number, text, block, bytes) DTYPE_##name,
    DTYPE_LIST(TYPE_OF)
#undef TYPE_OF
};

enum { TYPES = sizeof types / sizeof *types };

static bool same_form(const struct kernels *kernels, enum dtype a, enum dtype b)
{
    const struct weight_class *class = class_of(a);
    return class == class_of(b) && class->form(kernels, a) == class->form(kernels, b);
}

/* The first of `count` types whose form is that of `type`, or `count`. */
static size_t first_of_form(const struct kernels *kernels, const enum dtype *list, size_t count,
                            enum dtype type)
{
    size_t i = 0;
    while (i < count && !same_form(kernels, list[i], type))
        i++;
    return i;
}

/* Of the row that a thread makes. */
static size_t made_bytes(size_t inputs)
{
    return size_ceil_div(inputs * sizeof(float), 64) * 64;
}

size_t weight_workspace(const struct kernels *kernels, size_t rows, size_t inputs, int threads)
{
    size_t bytes = (size_t)threads * made_bytes(inputs);
    for (size_t i = 0; i < TYPES; i++)
        if (first_of_form(kernels, types, i, types[i]) == i)
            bytes += rows * class_of(types[i])->row_bytes(kernels, types[i], inputs);
    return bytes;
}

/* Rows of x in each form that the jobs want. */
struct forms {
    size_t count;
    const struct weight *weight[TYPES]; /* one of the form */
    enum dtype type[TYPES];
    char *rows[TYPES]; /* [rows] of row_bytes() */
};

struct work {
    const struct weight_job *jobs;
    size_t count;
    int threads;
    const float *x; /* [rows][x_stride], or NULL and rows are made */
    size_t x_stride, rows, panels;
    const struct weight_rows *made;
    char *making; /* [threads] of made_bytes() */
    struct forms forms;
    atomic_size_t next; /* panel that nobody has taken */
};

static size_t row_bytes(const struct weight *w)
{
    return class_of(w->type)->row_bytes(w->kernels, w->type, w->inputs);
}

static void forms_find(struct work *work, char *workspace)
{
    struct forms *forms = &work->forms;
    work->making = workspace;
    workspace += work->made ? (size_t)work->threads * made_bytes(work->jobs[0].weight->inputs) : 0;
    for (size_t j = 0; j < work->count; j++) {
        const struct weight *w = work->jobs[j].weight;
        if (first_of_form(w->kernels, forms->type, forms->count, w->type) < forms->count)
            continue;
        forms->weight[forms->count] = w;
        forms->type[forms->count] = w->type;
        forms->rows[forms->count++] = workspace;
        workspace += work->rows * row_bytes(w);
    }
}

/* Rows [first, end), which begin at x, in every form. */
static void prepare_rows(const struct work *work, const float *x, size_t first, size_t end)
{
    for (size_t i = 0; i < work->forms.count; i++) {
        const struct weight *w = work->forms.weight[i];
        class_of(w->type)->prepare(w, work->forms.rows[i] + first * row_bytes(w), x, work->x_stride,
                                   end - first);
    }
}

static void prepare(const struct work *work, size_t thread, size_t first, size_t end)
{
    if (!work->made) {
        prepare_rows(work, work->x + first * work->x_stride, first, end);
        return;
    }
    char *making = work->making + thread * made_bytes(work->jobs[0].weight->inputs);
    for (size_t row = first; row < end; row++) {
        work->made->make(work->made->context, row, (float *)(void *)making);
        prepare_rows(work, (const float *)(const void *)making, row, row + 1);
    }
}

/* ---- Panels ---- */

/* Panels [first, end) of the list. */
static void compute(const struct work *work, size_t first, size_t end)
{
    const struct forms *forms = &work->forms;
    for (size_t j = 0; first < end; j++) {
        const struct weight_job *job = &work->jobs[j];
        const struct weight *w = job->weight;
        size_t panels = panels_of(w);
        if (first < panels) {
            size_t form = first_of_form(w->kernels, forms->type, forms->count, w->type);
            class_of(w->type)->compute(job, forms->rows[form], work->rows, first,
                                       end < panels ? end : panels);
            first = panels;
        }
        first -= panels;
        end = end > panels ? end - panels : 0;
    }
}

static void compute_runs(struct work *work, size_t threads)
{
    size_t first = atomic_load(&work->next);
    while (first < work->panels) {
        size_t end = first + size_ceil_div(work->panels - first, SHARE * threads);
        if (atomic_compare_exchange_weak(&work->next, &first, end)) {
            compute(work, first, end);
            first = atomic_load(&work->next);
        }
    }
}

static void compute_together(struct work *work, int team)
{
    size_t rows = work->rows;
    bool few = rows * work->jobs[0].weight->inputs <= SMALL_ROWS;
    if (few)
        prepare(work, 0, 0, rows);
#pragma omp parallel num_threads(team)
    {
        size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
        if (!few) {
            prepare(work, thread, rows * thread / threads, rows * (thread + 1) / threads);
#pragma omp barrier
        }
        compute_runs(work, threads);
    }
}

/* Jobs of equal inputs. */
static void products(struct work *work, void *workspace)
{
    size_t outputs = 0;
    for (size_t j = 0; j < work->count; j++) {
        work->panels += panels_of(work->jobs[j].weight);
        outputs += work->jobs[j].weight->outputs;
    }
    forms_find(work, workspace);
    if (work->threads == 1 || work->rows * outputs * work->jobs[0].weight->inputs < SMALL_WORK) {
        prepare(work, 0, 0, work->rows);
        compute(work, 0, work->panels);
    } else {
        compute_together(work, work->threads);
    }
}

/* Of `count` jobs, how many from the first on have its inputs. */
static size_t of_equal_inputs(const struct weight_job *jobs, size_t count)
{
    size_t end = 1;
    while (end < count && jobs[end].weight->inputs == jobs[0].weight->inputs)
        end++;
    return end;
}

void weight_products(const struct weight_job *jobs, size_t count, const float *x, size_t x_stride,
                     size_t rows, void *workspace, int threads)
{
    assert((uintptr_t)workspace % 64 == 0);
    if (rows == 0)
        return;
    for (size_t first = 0, some; first < count; first += some) {
        some = of_equal_inputs(jobs + first, count - first);
        struct work work = {.jobs = jobs + first,
                            .count = some,
                            .threads = threads,
                            .x = x,
                            .x_stride = x_stride,
                            .rows = rows};
        products(&work, workspace);
    }
}

void weight_products_of(const struct weight_job *jobs, size_t count, const struct weight_rows *x,
                        size_t rows, void *workspace, int threads)
{
    assert((uintptr_t)workspace % 64 == 0 && of_equal_inputs(jobs, count) == count);
    struct work work = {.jobs = jobs, .count = count, .threads = threads, .rows = rows, .made = x};
    if (rows > 0)
        products(&work, workspace);
}
