/* A file mapped read-only into memory.
 *
 * The size is that of the moment of opening. Where another process shortens the file afterwards,
 * touching what it took away ends the program with SIGBUS; nothing here guards against that. */
#ifndef FILE_MAP_H
#define FILE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

struct file_map {
    const uint8_t *bytes;
    size_t size;            /* at least 1 */
    uint64_t device, inode; /* which file it is */
};

/* Maps a whole regular file. A missing file, a directory, a device, an empty file and one that
 * cannot be read each give TRIB_IO or TRIB_FORMAT with one line that names the path. */
trib_status file_map_open(struct file_map *map, const char *path, trib_error *error);

/* Lets the whole pages of `size` bytes at `bytes`, a part of the map, go from memory: they are read
 * anew when they are touched again. */
void file_map_release(const struct file_map *map, const void *bytes, size_t size);

/* Unmaps; safe on a zeroed struct and when called twice. */
void file_map_close(struct file_map *map);

#endif
