/* The folder of KV segments: what comes back after a restart, and what does not: damaged, foreign,
 * vanished and half-written files; two processes at once, processes that are killed, a full disk,
 * a full memory and a budget. Whatever happens on disk, what is found holds the right keys and
 * values. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "cache_case.h"
#include "folder.h"
#include "random.h"

enum { PAGES = 8, IDS = PAGES * CHUNK };

static const struct kv_shape shape = {DTYPE_F16, 2, 1, 16};

/* A folder, a cache on it, and what was reported. */
struct disk {
    char folder[FOLDER_NAME];
    const char *kernels;
    size_t memory;
    uint64_t budget;
    int threads;
    struct prefix_cache *cache;
    struct page_pool *scratch;
    size_t messages;
    char last[256];
};

static void say(void *context, const char *message)
{
    struct disk *d = context;
    d->messages++;
    snprintf(d->last, sizeof d->last, "%s", message);
}

static void start(struct disk *d)
{
    struct prefix_cache_options options = {.shape = shape,
                                           .budget = d->memory,
                                           .disk = {.folder = d->folder,
                                                    .budget = d->budget,
                                                    .kernels = d->kernels,
                                                    .threads = d->threads,
                                                    .report = {say, d}}};
    trib_error error;
    if (prefix_cache_open(&d->cache, &options, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    d->messages = 0;
    d->last[0] = 0;
}

static void restart(struct disk *d)
{
    prefix_cache_close(d->cache);
    start(d);
}

static int open_disk(void **state)
{
    static struct disk d;
    d = (struct disk){.kernels = "test", .memory = 1 << 24, .budget = UINT64_MAX, .threads = 1};
    folder_make(d.folder);
    if (page_pool_open(&d.scratch, &shape, 2 * kv_page_bytes(&shape), NULL) != TRIB_OK)
        return -1;
    start(&d);
    *state = &d;
    return 0;
}

static int close_disk(void **state)
{
    struct disk *d = *state;
    prefix_cache_close(d->cache);
    page_pool_close(d->scratch);
    return folder_remove(d->folder);
}

static void ids_of(uint64_t which, int32_t ids[IDS], uint64_t hashes[IDS])
{
    for (size_t i = 0; i < IDS; i++) {
        ids[i] = (int32_t)(rng_bits(which, i) % 1000);
        hashes[i] = case_hash(i ? hashes[i - 1] : 1, ids[i]);
    }
}

/* Computes text number `which` as far as it is not found, and writes it. */
static trib_status compute(struct disk *d, uint64_t which, trib_error *error)
{
    int32_t ids[IDS];
    uint64_t hashes[IDS];
    struct sequence *s;
    bool more = true;
    ids_of(which, ids, hashes);
    assert_int_equal(sequence_open(&s, d->cache, ids, IDS, NULL), TRIB_OK);
    size_t n = sequence_length(s);
    assert_int_equal(case_append(&shape, s, ids + n, hashes + n, IDS - n, NULL), TRIB_OK);
    sequence_close(s);
    trib_status status = TRIB_OK;
    while (more && status == TRIB_OK)
        status = prefix_cache_write(d->cache, 1, true, &more, error);
    return status;
}

/* How many pages of a text are found; they must be right. */
static size_t find(struct disk *d, uint64_t which)
{
    int32_t ids[IDS];
    uint64_t hashes[IDS];
    struct sequence *s;
    ids_of(which, ids, hashes);
    assert_int_equal(sequence_open(&s, d->cache, ids, IDS, NULL), TRIB_OK);
    size_t pages = sequence_length(s) / CHUNK;
    assert_true(case_holds(&shape, d->scratch, s, hashes, 0));
    sequence_close(s);
    return pages;
}

/* ---- Coming back ---- */

static void what_was_written_comes_back(void **state)
{
    struct disk *d = *state;
    d->threads = 3;
    for (uint64_t which = 0; which < 4; which++)
        assert_int_equal(compute(d, which, NULL), TRIB_OK);
    restart(d);
    for (uint64_t which = 0; which < 4; which++)
        assert_int_equal(find(d, which), PAGES);
    assert_int_equal(prefix_cache_counts(d->cache).pages.wrapped, 4 * PAGES);
    assert_int_equal(prefix_cache_counts(d->cache).pages.in_use, 0);
    assert_int_equal(folder_each(d->folder, ".kv", NULL), 4);
    for (uint64_t which = 0; which < 4; which++) /* and is not written again */
        assert_int_equal(compute(d, which, NULL), TRIB_OK);
    assert_int_equal(folder_each(d->folder, "", NULL), 4);
    assert_int_equal(d->messages, 0);
    prefix_cache_clear(d->cache);
    assert_int_equal(prefix_cache_counts(d->cache).pages.wrapped, 0);
}

/* Files of others are in the same folder, and are none of our business. */
static void another_kernel_table_finds_nothing(void **state)
{
    struct disk *d = *state;
    assert_int_equal(compute(d, 1, NULL), TRIB_OK);
    d->kernels = "other";
    restart(d);
    assert_int_equal(find(d, 1), 0);
    assert_int_equal(compute(d, 1, NULL), TRIB_OK);
    assert_int_equal(folder_each(d->folder, ".kv", NULL), 2);
    assert_int_equal(d->messages, 0);
}

/* ---- Damage ---- */

static off_t change_at;

static void flip(const char *path)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, change_at) == 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, change_at), 1);
    close(fd);
}

static void cut(const char *path)
{
    assert_int_equal(truncate(path, change_at), 0);
}

static void rename_file(const char *path)
{
    char other[512];
    snprintf(other, sizeof other, "%s", path);
    char *digit = strrchr(other, '-') - 1;
    *digit = *digit == '0' ? '1' : '0';
    assert_int_equal(rename(path, other), 0);
}

/* Pages before the damaged one are found; the others are computed again, after which all are. */
static void a_damaged_page_is_computed_again(void **state)
{
    struct disk *d = *state;
    size_t stride = segment_stride(kv_page_bytes(&shape));
    for (size_t page = 0; page < PAGES; page++) {
        folder_empty(d->folder);
        restart(d);
        assert_int_equal(compute(d, 1, NULL), TRIB_OK);
        change_at = (off_t)(segment_header_bytes(0, PAGES) + page * stride + 77 * page);
        folder_each(d->folder, ".kv", flip);
        restart(d);
        assert_int_equal(find(d, 1), page);
        assert_int_equal(d->messages, 1);
        assert_non_null(strstr(d->last, "its checksum does not match it"));
        assert_int_equal(compute(d, 1, NULL), TRIB_OK);
        prefix_cache_clear(d->cache);
        assert_int_equal(find(d, 1), PAGES);
        assert_int_equal(d->messages, 1); /* said once */
        restart(d);
        assert_int_equal(find(d, 1), PAGES);
    }
}

static void damaged_files_are_passed_over(void **state)
{
    struct disk *d = *state;
    static const struct {
        void (*damage)(const char *path);
        off_t at;
        const char *message;
    } cases[] = {
        {flip, 0, "not a KV segment file"},    {flip, 8, "version: expected 2, found 18"},
        {flip, 24, "bytes from page to page"}, {flip, 300, "the header's checksum"},
        {flip, 90, "the header's checksum"},   {cut, 0, "the file is empty"},
        {cut, 100, "not a KV segment file"},   {cut, 4096, "bytes of the"},
        {cut, 9000, "bytes of the file"},      {rename_file, 0, "expected the name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_empty(d->folder);
        restart(d);
        assert_int_equal(compute(d, 1, NULL), TRIB_OK);
        change_at = cases[i].at;
        folder_each(d->folder, ".kv", cases[i].damage);
        restart(d);
        assert_int_equal(find(d, 1), 0);
        assert_int_equal(d->messages, 1);
        if (!strstr(d->last, cases[i].message))
            fail_msg("case %zu: %s", i, d->last);
        assert_int_equal(find(d, 1), 0);
        assert_int_equal(d->messages, 1);
        assert_int_equal(compute(d, 1, NULL), TRIB_OK);
        restart(d);
        assert_int_equal(find(d, 1), PAGES);
    }
}

/* Who has a file mapped keeps it; who looks for it later does not find it, and says nothing. */
static void files_may_vanish(void **state)
{
    struct disk *d = *state;
    int32_t ids[IDS];
    uint64_t hashes[IDS];
    struct sequence *s;
    ids_of(1, ids, hashes);
    assert_int_equal(compute(d, 1, NULL), TRIB_OK);
    restart(d);
    assert_int_equal(sequence_open(&s, d->cache, ids, IDS, NULL), TRIB_OK);
    folder_empty(d->folder);
    assert_int_equal(sequence_length(s), IDS);
    assert_true(case_holds(&shape, d->scratch, s, hashes, 0));
    sequence_close(s);
    prefix_cache_clear(d->cache);
    assert_int_equal(find(d, 1), 0);
    assert_int_equal(d->messages, 0);
}

/* ---- Other processes ---- */

/* Opens the folder in a process of its own, and computes texts there. */
static pid_t compute_elsewhere(struct disk *d, uint64_t from, uint64_t to)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool good = true;
        start(d);
        for (uint64_t which = from; which < to; which++)
            good = good && compute(d, which, NULL) == TRIB_OK;
        _exit(good && d->messages == 0 ? 0 : 1);
    }
    return child;
}

static void two_processes_share_a_folder(void **state)
{
    struct disk *d = *state;
    int status;
    pid_t a = compute_elsewhere(d, 0, 12), b = compute_elsewhere(d, 4, 16);
    assert_true(waitpid(a, &status, 0) == a && status == 0);
    assert_true(waitpid(b, &status, 0) == b && status == 0);
    for (uint64_t which = 0; which < 16; which++) /* by a store that was open all the time */
        assert_int_equal(find(d, which), PAGES);
    assert_int_equal(d->messages, 0);
    assert_int_equal(folder_each(d->folder, ".part", NULL), 0);
}

/* A process is killed at any moment, again and again: what is there under its name is whole, and
 * what is not is removed once it may be. */
static void killing_leaves_whole_files(void **state)
{
    struct disk *d = *state;
    struct random r = random_start(7);
    struct segment_pruned pruned;
    struct segment_list list;
    size_t parts = 0, files = 0;
    const int64_t second = 1000000000, begin = segment_folder_now();
    for (uint64_t n = 0, slow = 1;
         segment_folder_now() < begin + second ||
         ((parts == 0 || files == 0) && segment_folder_now() < begin + 60 * second);
         n++) {
        pid_t child = compute_elsewhere(d, n * 100, n * 100 + 100);
        struct timespec wait = {0, (long)(random_below(&r, 20000000) * slow)};
        nanosleep(&wait, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        parts = folder_each(d->folder, ".part", NULL);
        files = folder_each(d->folder, ".kv", NULL);
        slow = files == 0 && slow < 40 ? slow + 1 : slow; /* a machine that takes longer to write */
    }
    assert_true(parts > 0 && files > 0);
    assert_int_equal(segment_folder_list(&list, d->folder, NULL), TRIB_OK);
    assert_int_equal(list.count, files);
    for (size_t i = 0; i < list.count; i++) {
        struct file_map map;
        struct segment segment;
        trib_error error;
        if (segment_folder_open(&map, &segment, d->folder, list.entries[i].name, true, &error))
            fail_msg("%s", error.message);
        file_map_close(&map);
    }
    segment_list_free(&list);
    struct segment_prune prune = {.budget = UINT64_MAX, .stray_seconds = 3600};
    assert_int_equal(segment_folder_prune(d->folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.parts, 0); /* not old yet */
    prune.stray_seconds = -1;
    assert_int_equal(segment_folder_prune(d->folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.parts, parts);
    assert_int_equal(pruned.files, 0);
    assert_int_equal(folder_each(d->folder, ".part", NULL), 0);
    print_message("# %zu parts were left behind\n", parts);
}

/* ---- Limits ---- */

static void a_full_disk_costs_the_run_alone(void **state)
{
    struct disk *d = *state;
    struct rlimit old, small;
    trib_error error = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = segment_header_bytes(0, PAGES) + 3 * kv_page_bytes(&shape) / 2;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    trib_status status = compute(d, 1, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, TRIB_IO);
    assert_non_null(strstr(error.message, "cannot be written: File too large"));
    assert_int_equal(folder_each(d->folder, "", NULL), 0);
    assert_int_equal(find(d, 1), PAGES); /* in memory */
    assert_int_equal(compute(d, 2, NULL), TRIB_OK);
    restart(d);
    assert_int_equal(find(d, 1), 0);
    assert_int_equal(find(d, 2), PAGES);
}

/* Memory is short while a run is written, which is given up for it; a sequence still holds the run,
 * and it is written with what waits. */
static void a_run_that_is_interrupted_is_written_later(void **state)
{
    struct disk *d = *state;
    int32_t ids[IDS];
    uint64_t hashes[IDS];
    struct sequence *s, *other;
    bool more;
    ids_of(1, ids, hashes);
    d->memory = (PAGES + 1) * kv_page_bytes(&shape);
    restart(d);
    assert_int_equal(sequence_open(&s, d->cache, ids, IDS, NULL), TRIB_OK);
    assert_int_equal(case_append(&shape, s, ids, hashes, IDS, NULL), TRIB_OK);
    assert_int_equal(prefix_cache_write(d->cache, 1, true, &more, NULL), TRIB_OK);
    assert_true(more);
    assert_int_equal(folder_each(d->folder, ".part", NULL), 1);
    assert_int_equal(sequence_open(&other, d->cache, NULL, 0, NULL), TRIB_OK);
    assert_int_equal(sequence_reserve(other, 2 * CHUNK, NULL), TRIB_FULL);
    sequence_close(other);
    assert_int_equal(folder_each(d->folder, "", NULL), 0);
    while (more)
        assert_int_equal(prefix_cache_write(d->cache, 1, true, &more, NULL), TRIB_OK);
    assert_int_equal(folder_each(d->folder, "", NULL), 1);
    sequence_close(s);
    restart(d);
    assert_int_equal(find(d, 1), PAGES);
}

/* How many more calls of calloc have memory; the linker puts ours in front of it. */
static size_t callocs_left = SIZE_MAX;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    if (callocs_left == 0)
        return NULL;
    callocs_left -= callocs_left != SIZE_MAX;
    return __real_calloc(count, size);
}

/* Whichever calloc fails while a sequence is opened, it leaves no page behind. */
static void without_memory_nothing_is_held(void **state)
{
    struct disk *d = *state;
    int32_t ids[IDS];
    uint64_t hashes[IDS];
    struct sequence *s;
    size_t failures = 0, pages = 0;
    ids_of(1, ids, hashes);
    assert_int_equal(compute(d, 1, NULL), TRIB_OK);
    for (size_t left = 0; pages < PAGES; left++) {
        restart(d);
        callocs_left = left;
        trib_status status = sequence_open(&s, d->cache, ids, IDS, NULL);
        callocs_left = SIZE_MAX;
        assert_true(status == TRIB_OK || status == TRIB_NO_MEMORY);
        failures += status != TRIB_OK;
        pages = s ? sequence_length(s) / CHUNK : 0;
        sequence_close(s);
        prefix_cache_clear(d->cache);
        assert_int_equal(prefix_cache_counts(d->cache).pages.wrapped, 0);
    }
    assert_true(failures > 1); /* of the sequence, and of the tree's node */
}

static void the_budget_keeps_what_was_used_last(void **state)
{
    struct disk *d = *state;
    uint64_t bytes = segment_header_bytes(0, PAGES) + PAGES * segment_stride(kv_page_bytes(&shape));
    d->budget = 3 * bytes;
    restart(d);
    for (uint64_t which = 0; which < 3; which++)
        assert_int_equal(compute(d, which, NULL), TRIB_OK);
    restart(d);
    assert_int_equal(find(d, 0), PAGES); /* used later than 1 and 2 */
    assert_int_equal(compute(d, 3, NULL), TRIB_OK);
    assert_int_equal(folder_each(d->folder, ".kv", NULL), 3);
    restart(d);
    assert_int_equal(find(d, 1), 0);
    assert_int_equal(find(d, 2), PAGES);
    assert_int_equal(find(d, 0), PAGES);
    assert_int_equal(find(d, 3), PAGES);

    trib_error error = {0};
    d->budget = bytes - 1; /* room for none */
    restart(d);
    assert_int_equal(compute(d, 9, &error), TRIB_FULL);
    assert_non_null(strstr(error.message, "beyond the budget"));
    assert_int_equal(folder_each(d->folder, ".kv", NULL), 3);

    struct segment_pruned pruned;
    struct segment_prune prune = {.budget = bytes};
    assert_int_equal(segment_folder_prune(d->folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 2);
    assert_true(pruned.left == bytes);
    change_at = 5000;
    folder_each(d->folder, ".kv", flip);
    prune = (struct segment_prune){.budget = UINT64_MAX, .broken = true};
    assert_int_equal(segment_folder_prune(d->folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 1);
}

static void a_folder_that_cannot_be(void **state)
{
    struct disk *d = *state;
    struct prefix_cache *cache;
    trib_error error;
    struct prefix_cache_options options = {
        .shape = shape, .budget = 1 << 24, .disk = {.kernels = "test", .threads = 1}};
    char path[64];
    snprintf(path, sizeof path, "%s/none/none", d->folder);
    options.disk.folder = path;
    assert_int_equal(prefix_cache_open(&cache, &options, &error), TRIB_IO);
    assert_null(cache);
    assert_non_null(strstr(error.message, "No such file"));
    options.disk.folder = "/dev/null";
    assert_int_equal(prefix_cache_open(&cache, &options, &error), TRIB_IO);
    assert_string_equal(error.message, "/dev/null: expected a folder for KV segments");
}

int main(void)
{
#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, open_disk, close_disk)
    const struct CMUnitTest tests[] = {
        ON_DISK(two_processes_share_a_folder), /* before OpenMP has threads, which a fork loses */
        ON_DISK(killing_leaves_whole_files),
        ON_DISK(what_was_written_comes_back),
        ON_DISK(another_kernel_table_finds_nothing),
        ON_DISK(a_damaged_page_is_computed_again),
        ON_DISK(damaged_files_are_passed_over),
        ON_DISK(files_may_vanish),
        ON_DISK(a_full_disk_costs_the_run_alone),
        ON_DISK(a_run_that_is_interrupted_is_written_later),
        ON_DISK(without_memory_nothing_is_held),
        ON_DISK(the_budget_keeps_what_was_used_last),
        ON_DISK(a_folder_that_cannot_be),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
