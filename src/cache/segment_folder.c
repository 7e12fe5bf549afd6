/* Walking a folder of segment files. */
#include "cache/segment_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

static const char suffix[] = ".kv", part_suffix[] = ".part";

static trib_status refuse(trib_error *error, const char *folder, const char *name)
{
    return error_set(error, TRIB_IO, "%.120s/%.90s: %s", folder, name, strerror(errno));
}

trib_status segment_folder_make(const char *folder, trib_error *error)
{
    struct stat info;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_set(error, TRIB_IO, "%.180s: %s", folder, strerror(errno));
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return error_set(error, TRIB_IO, "%.180s: expected a folder for KV segments", folder);
    return TRIB_OK;
}

trib_status segment_folder_half(const char *folder, uint64_t bytes, uint64_t *half,
                                trib_error *error)
{
    struct statvfs space;
    if (statvfs(folder, &space) != 0)
        return error_set(error, TRIB_IO, "%.180s: %s", folder, strerror(errno));
    *half = ((uint64_t)space.f_bavail * space.f_frsize + bytes) / 2;
    return TRIB_OK;
}

/* ---- Names ---- */

void segment_name(struct prefix_key root, struct prefix_key key, size_t first,
                  char name[SEGMENT_NAME_LENGTH + 1])
{
    char whole[PREFIX_KEY_TEXT], text[PREFIX_KEY_TEXT];
    prefix_key_text(root, whole);
    prefix_key_text(key, text);
    snprintf(name, SEGMENT_NAME_LENGTH + 1, "%.16s-%.32s-%08x%s", whole, text, (unsigned)first,
             suffix);
}

static bool is_hexadecimal(const char *text, size_t length)
{
    return strspn(text, "0123456789abcdef") >= length;
}

/* Whether a name begins as a segment's does; what is behind it goes to *rest. */
static bool begins_as_segment(const char *name, const char **rest)
{
    *rest = name + SEGMENT_NAME_LENGTH;
    return strlen(name) >= SEGMENT_NAME_LENGTH && is_hexadecimal(name, 16) && name[16] == '-' &&
           is_hexadecimal(name + 17, 32) && name[49] == '-' && is_hexadecimal(name + 50, 8) &&
           memcmp(name + 58, suffix, sizeof suffix - 1) == 0;
}

/* The process that writes a part, from `.PID-N.part`; 0: that is no part. */
static long writer_of_part(const char *rest)
{
    char *end;
    size_t length = strlen(rest), tail = sizeof part_suffix - 1;
    if (*rest != '.' || length < tail || strcmp(rest + length - tail, part_suffix) != 0)
        return 0;
    long pid = strtol(rest + 1, &end, 10);
    return pid > 0 && *end == '-' ? pid : 0;
}

char *segment_path(const char *folder, const char *name)
{
    size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (path)
        snprintf(path, room, "%s/%s", folder, name);
    return path;
}

/* ---- Walking ---- */

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t segment_folder_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return nanoseconds(now);
}

/* What a walk does with what it finds. A function that fails ends it. */
struct walk {
    trib_status (*file)(struct walk *walk, const char *name, const struct stat *info,
                        trib_error *error);
    trib_status (*part)(struct walk *walk, const char *name, long pid, const struct stat *info,
                        trib_error *error);
    int folder_fd;
    const char *folder;
    struct segment_list *list;
    int64_t oldest_part; /* time of modification from which on parts stay */
    struct segment_pruned *pruned;
};

static trib_status walk_entry(struct walk *walk, const char *name, trib_error *error)
{
    struct stat info;
    const char *rest;
    if (!begins_as_segment(name, &rest) ||
        fstatat(walk->folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
        return TRIB_OK;
    if (*rest == 0)
        return walk->file ? walk->file(walk, name, &info, error) : TRIB_OK;
    long pid = writer_of_part(rest);
    return pid && walk->part ? walk->part(walk, name, pid, &info, error) : TRIB_OK;
}

static trib_status walk_folder(struct walk *walk, const char *folder, trib_error *error)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return error_set(error, TRIB_IO, "%.180s: %s", folder, strerror(errno));
    trib_status status = TRIB_OK;
    walk->folder = folder;
    walk->folder_fd = dirfd(directory);
    for (const struct dirent *entry; status == TRIB_OK && (entry = readdir(directory));)
        status = walk_entry(walk, entry->d_name, error);
    closedir(directory);
    return status;
}

static trib_status list_file(struct walk *walk, const char *name, const struct stat *info,
                             trib_error *error)
{
    struct segment_list *list = walk->list;
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 64, bytes = capacity * sizeof *list->entries;
        struct segment_entry *entries = realloc(list->entries, bytes);
        if (!entries)
            return error_no_memory(error, "a list of KV segments", bytes);
        list->entries = entries;
        list->capacity = capacity;
    }
    struct segment_entry *entry = &list->entries[list->count++];
    memcpy(entry->name, name, sizeof entry->name);
    entry->bytes = (uint64_t)info->st_size;
    entry->used = nanoseconds(info->st_mtim);
    entry->inode = info->st_ino;
    return TRIB_OK;
}

static trib_status list_part(struct walk *walk, const char *name, long pid, const struct stat *info,
                             trib_error *error)
{
    (void)name, (void)pid, (void)error;
    walk->list->part_bytes += (uint64_t)info->st_size;
    return TRIB_OK;
}

static int by_age(const void *left, const void *right)
{
    const struct segment_entry *a = left, *b = right;
    return a->used != b->used ? (a->used < b->used ? -1 : 1) : strcmp(a->name, b->name);
}

trib_status segment_folder_list(struct segment_list *list, const char *folder, trib_error *error)
{
    struct walk walk = {.file = list_file, .part = list_part, .list = list};
    *list = (struct segment_list){0};
    trib_status status = walk_folder(&walk, folder, error);
    if (status != TRIB_OK)
        segment_list_free(list);
    else if (list->count)
        qsort(list->entries, list->count, sizeof *list->entries, by_age);
    return status;
}

void segment_list_free(struct segment_list *list)
{
    free(list->entries);
    *list = (struct segment_list){0};
}

/* ---- One file ---- */

/* That the name is the one of the key: a file that somebody renamed would be found for another
 * prefix again and again. */
static trib_status check_name(const struct segment *segment, const char *name, trib_error *error)
{
    char expected[SEGMENT_NAME_LENGTH + 1];
    segment_name(segment_root_key(&segment->origin), segment->key, segment->first, expected);
    if (strcmp(name, expected) == 0)
        return TRIB_OK;
    return error_set(error, TRIB_FORMAT, "%s: expected the name %s for what is in it", name,
                     expected);
}

trib_status segment_folder_open(struct file_map *map, struct segment *segment, const char *folder,
                                const char *name, bool pages, trib_error *error)
{
    char *path = segment_path(folder, name);
    *map = (struct file_map){0};
    if (!path)
        return error_no_memory(error, "a path", strlen(folder) + strlen(name) + 2);
    trib_status status = file_map_open(map, path, error);
    if (status == TRIB_OK)
        status = segment_parse(segment, map->bytes, map->size, name, error);
    if (status == TRIB_OK)
        status = check_name(segment, name, error);
    for (size_t i = 0; pages && status == TRIB_OK && i < segment->count; i++)
        if (!segment_page_is_whole(segment, i))
            status = error_set(error, TRIB_FORMAT, "%s: page %zu: its checksum does not match it",
                               name, i);
    if (status != TRIB_OK)
        file_map_close(map);
    free(path);
    return status;
}

void segment_folder_touch(const char *folder, const char *name, int64_t time)
{
    char *path = segment_path(folder, name);
    struct timespec when = {.tv_sec = (time_t)(time / 1000000000),
                            .tv_nsec = (long)(time % 1000000000)};
    if (path)
        (void)utimensat(AT_FDCWD, path, (struct timespec[]){when, when}, AT_SYMLINK_NOFOLLOW);
    free(path);
}

int64_t segment_folder_used(const char *folder, const char *name)
{
    struct stat info;
    char *path = segment_path(folder, name);
    int64_t used = path && stat(path, &info) == 0 ? nanoseconds(info.st_mtim) : -1;
    free(path);
    return used;
}

/* ---- Pruning ---- */

/* What another process removed first is removed, too. */
static trib_status remove_file(const char *folder, int folder_fd, const char *name,
                               trib_error *error)
{
    return unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT ? TRIB_OK
                                                                : refuse(error, folder, name);
}

/* A writer that is alive may be slow; one on another machine is told by age alone. */
static trib_status prune_part(struct walk *walk, const char *name, long pid,
                              const struct stat *info, trib_error *error)
{
    bool gone = kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    if (!gone || nanoseconds(info->st_mtim) > walk->oldest_part)
        return TRIB_OK;
    walk->pruned->parts++;
    walk->pruned->bytes += (uint64_t)info->st_size;
    return remove_file(walk->folder, walk->folder_fd, name, error);
}

/* Afterwards the entry is one of no bytes. */
static trib_status prune_file(const char *folder, int folder_fd, struct segment_entry *entry,
                              struct segment_pruned *pruned, trib_error *error)
{
    trib_status status = remove_file(folder, folder_fd, entry->name, error);
    if (status != TRIB_OK)
        return status;
    pruned->files++;
    pruned->bytes += entry->bytes;
    pruned->left -= entry->bytes;
    entry->bytes = 0;
    return TRIB_OK;
}

static bool is_broken(const char *folder, const char *name)
{
    struct file_map map;
    struct segment segment;
    trib_status status = segment_folder_open(&map, &segment, folder, name, true, NULL);
    file_map_close(&map);
    return status == TRIB_FORMAT;
}

static bool is_unwanted(const char *folder, const struct segment_entry *entry,
                        const struct segment_prune *prune)
{
    return entry->used < prune->oldest || (prune->broken && is_broken(folder, entry->name));
}

trib_status segment_folder_prune(const char *folder, const struct segment_prune *prune,
                                 struct segment_pruned *pruned, trib_error *error)
{
    struct segment_list list = {0};
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *pruned = (struct segment_pruned){0};
    if (folder_fd < 0)
        return error_set(error, TRIB_IO, "%.180s: %s", folder, strerror(errno));
    struct walk walk = {.part = prune_part,
                        .oldest_part = segment_folder_now() - prune->stray_seconds * 1000000000,
                        .pruned = pruned};
    trib_status status = walk_folder(&walk, folder, error);
    if (status == TRIB_OK)
        status = segment_folder_list(&list, folder, error);
    pruned->left = list.part_bytes;
    for (size_t i = 0; i < list.count; i++)
        pruned->left += list.entries[i].bytes;
    for (size_t i = 0; i < list.count && status == TRIB_OK; i++)
        if (is_unwanted(folder, &list.entries[i], prune))
            status = prune_file(folder, folder_fd, &list.entries[i], pruned, error);
    for (size_t i = 0; i < list.count && status == TRIB_OK && pruned->left > prune->budget; i++)
        if (list.entries[i].bytes)
            status = prune_file(folder, folder_fd, &list.entries[i], pruned, error);
    segment_list_free(&list);
    close(folder_fd);
    return status;
}
