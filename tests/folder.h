/* A folder of a test's own, below the one it runs in. */
#ifndef FOLDER_H
#define FOLDER_H

#include <dirent.h>
#include <unistd.h>

#include "test.h"

enum { FOLDER_NAME = 32 };

static inline void folder_make(char folder[FOLDER_NAME])
{
    strcpy(folder, "trib-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

/* Calls for every file whose name ends so; how many. `call` may be NULL. */
static inline size_t folder_each(const char *folder, const char *end,
                                 void (*call)(const char *path))
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name), tail = strlen(end);
        char path[512];
        if (entry->d_name[0] == '.' || length < tail ||
            strcmp(entry->d_name + length - tail, end) != 0)
            continue;
        count++;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (call)
            call(path);
    }
    closedir(directory);
    return count;
}

static inline void folder_remove_path(const char *path)
{
    if (unlink(path) != 0)
        rmdir(path);
}

static inline void folder_empty(const char *folder)
{
    folder_each(folder, "", folder_remove_path);
}

/* Removes it with what is in it. */
static inline int folder_remove(const char *folder)
{
    folder_empty(folder);
    return rmdir(folder);
}

#endif
