/* Files that appear whole or not at all: written beside the place they are meant for, then renamed.
 *
 *     struct atomic_file file;
 *     status = atomic_open(&file, path, error);
 *     if (status == TRIB_OK)
 *         status = atomic_write(&file, bytes, size, error);
 *     if (status == TRIB_OK)
 *         status = atomic_commit(&file, error);
 *     atomic_abandon(&file);
 *
 * Until atomic_commit succeeds, whatever stood at the path stands there unchanged; afterwards the
 * new bytes do, and have reached the disk. There is no moment in between, for other processes
 * neither. After a failure the temporary file is gone; only a process that is killed leaves one
 * behind, under the name of the file with `.PID-N.part` at its end. */
#ifndef FILE_ATOMIC_H
#define FILE_ATOMIC_H

#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

struct atomic_file {
    int fd;
    char *path;      /* of the file to be; a symbolic link has been followed */
    char *temporary; /* NULL: not open */
    uint64_t size;   /* bytes written so far */
};

/* Begins a file. Where one is already there it must be a regular file, whose permissions the new
 * one takes over. Fails with TRIB_IO, naming path and reason, or TRIB_NO_MEMORY; nothing is then
 * held. */
trib_status atomic_open(struct atomic_file *file, const char *path, trib_error *error);

/* Appends; each call goes to the operating system, so callers gather small pieces. After a failure
 * the file is abandoned. */
trib_status atomic_write(struct atomic_file *file, const void *bytes, size_t size,
                         trib_error *error);

/* Makes the file appear. After a failure it is abandoned. */
trib_status atomic_commit(struct atomic_file *file, trib_error *error);

/* Gives up: removes the temporary file. Does nothing on a file that is committed, abandoned, failed
 * to open, or zeroed. */
void atomic_abandon(struct atomic_file *file);

#endif
