/* Mapping files read-only: regular files alone, so that opening never waits and sizes are known. */
#include "file/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static trib_status map_descriptor(struct file_map *map, int fd, const char *path, trib_error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_set(error, TRIB_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return error_set(error, TRIB_IO, "%s: expected a file, found a directory", path);
    if (!S_ISREG(info.st_mode))
        return error_set(error, TRIB_IO, "%s: expected a regular file", path);
    if (info.st_size == 0)
        return error_set(error, TRIB_FORMAT, "%s: the file is empty", path);
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return error_set(error, TRIB_IO, "%s: %s", path, strerror(errno));
    /* More read-ahead for the first pass over the file. Unlike MADV_SEQUENTIAL this leaves the
     * order of eviction alone, as weights are read again and again; unlike MADV_WILLNEED it reads
     * nothing that nobody asks for, as when only the metadata is looked at. A mere hint: failing is
     * fine. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *map = (struct file_map){bytes, (size_t)info.st_size, info.st_dev, info.st_ino};
    return TRIB_OK;
}

trib_status file_map_open(struct file_map *map, const char *path, trib_error *error)
{
    *map = (struct file_map){0};
    /* O_NONBLOCK: opening a pipe must not wait for its other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, TRIB_IO, "%s: %s", path, strerror(errno));
    trib_status status = map_descriptor(map, fd, path, error);
    close(fd);
    return status;
}

void file_map_release(const struct file_map *map, const void *bytes, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)map->bytes;
    uintptr_t first = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)bytes + size) / page * page;
    if (map->bytes && first >= base && first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* failing is fine */
}

void file_map_close(struct file_map *map)
{
    if (map->bytes)
        munmap((void *)(uintptr_t)map->bytes, map->size);
    *map = (struct file_map){0};
}
