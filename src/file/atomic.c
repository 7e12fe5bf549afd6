/* Atomic replacement of files: a new file in the same folder, fsync, rename, fsync of the folder.
 *
 * The order matters: were the name renamed before the bytes are on the disk, a power cut could
 * leave an empty file under it (rename(2) is atomic for names, not for contents). */
#include "file/atomic.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum {
    SHOWN_MOST = 140, /* bytes of a path in messages, its end: the reason must fit behind it */
    TRIES = 100,      /* names that are all taken: something else is wrong */
    WRITE_MOST = 1 << 30,
};

static trib_status refuse(trib_error *error, const char *path, const char *reason)
{
    size_t length = strlen(path), cut = length > SHOWN_MOST ? length - SHOWN_MOST : 0;
    return error_set(error, TRIB_IO, "%s%s: cannot be written: %s", cut ? "..." : "", path + cut,
                     reason);
}

/* Opens a file under a name that nothing has yet. */
static int open_beside(struct atomic_file *file)
{
    static atomic_uint serial;
    size_t room = strlen(file->path) + 64;
    file->temporary = malloc(room);
    if (!file->temporary)
        return -1;
    for (int i = 0; i < TRIES; i++) {
        snprintf(file->temporary, room, "%s.%ld-%u.part", file->path, (long)getpid(),
                 atomic_fetch_add(&serial, 1u));
        int fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static void release(struct atomic_file *file)
{
    free(file->path);
    free(file->temporary);
    *file = (struct atomic_file){.fd = -1};
}

trib_status atomic_open(struct atomic_file *file, const char *path, trib_error *error)
{
    struct stat old;
    bool replaces = stat(path, &old) == 0;
    *file = (struct atomic_file){.fd = -1};
    if (replaces && !S_ISREG(old.st_mode))
        return refuse(error, path, "it is there already and no regular file");
    file->path = replaces ? realpath(path, NULL) : strdup(path);
    if (!file->path)
        return refuse(error, path, strerror(errno));
    file->fd = open_beside(file);
    if (file->fd < 0 || (replaces && fchmod(file->fd, old.st_mode & 0777) != 0)) {
        trib_status status = refuse(error, path, strerror(errno));
        if (file->fd >= 0)
            atomic_abandon(file);
        release(file);
        return status;
    }
    return TRIB_OK;
}

/* Complains with errno's reason and abandons. */
static trib_status give_up(struct atomic_file *file, trib_error *error)
{
    trib_status status = refuse(error, file->path, strerror(errno));
    atomic_abandon(file);
    return status;
}

trib_status atomic_write(struct atomic_file *file, const void *bytes, size_t size,
                         trib_error *error)
{
    const uint8_t *at = bytes;
    assert(file->temporary);
    while (size > 0) {
        ssize_t written = write(file->fd, at, size < WRITE_MOST ? size : WRITE_MOST);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return give_up(file, error);
        at += written;
        size -= (size_t)written;
        file->size += (uint64_t)written;
    }
    return TRIB_OK;
}

/* Brings a rename to the disk. Some file systems cannot; the file is whole either way, so that is
 * no failure. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

trib_status atomic_commit(struct atomic_file *file, trib_error *error)
{
    assert(file->temporary);
    if (fsync(file->fd) != 0)
        return give_up(file, error);
    int closed = close(file->fd);
    file->fd = -1;
    if (closed != 0 || rename(file->temporary, file->path) != 0)
        return give_up(file, error);
    sync_folder(file->path);
    release(file);
    return TRIB_OK;
}

void atomic_abandon(struct atomic_file *file)
{
    if (!file->temporary)
        return;
    if (file->fd >= 0)
        close(file->fd);
    unlink(file->temporary);
    release(file);
}
