/* Files that commands write. A new one in the same folder, fsync, rename: so no power cut leaves an
 * empty file under the name. */
#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"

/* ---- Which file a path leads to ---- */

bool is_same_file(const struct stat *info, const char *path)
{
    struct stat other;
    int had = strcmp(path, "-") == 0 ? fstat(STDIN_FILENO, &other) : stat(path, &other);
    return had == 0 && other.st_dev == info->st_dev && other.st_ino == info->st_ino;
}

/* The folder of a path whose last part begins at `name`; "." before a bare name. */
static bool stat_folder(const char *path, const char *name, struct stat *info)
{
    char *folder = name > path ? strndup(path, (size_t)(name - path)) : strdup(".");
    bool found = folder && stat(folder, info) == 0;
    free(folder);
    return found;
}

/* Whether files that are not there yet would be one. */
static bool would_be_same(const char *a, const char *b)
{
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
    const char *name_a = slash_a ? slash_a + 1 : a, *name_b = slash_b ? slash_b + 1 : b;
    struct stat folder_a, folder_b;
    return strcmp(name_a, name_b) == 0 && stat_folder(a, name_a, &folder_a) &&
           stat_folder(b, name_b, &folder_b) && folder_a.st_dev == folder_b.st_dev &&
           folder_a.st_ino == folder_b.st_ino;
}

trib_status output_differs(const char *path, const char *other, const char *what, trib_error *error)
{
    struct stat info;
    if (!path || !other)
        return TRIB_OK;
    if (stat(path, &info) == 0 ? !is_same_file(&info, other) : !would_be_same(path, other))
        return TRIB_OK;
    return failure(error, TRIB_INVALID, "%.180s: expected another file than %s", path, what);
}

/* ---- Writing ---- */

enum { TRIES = 100 }; /* names that are all taken: something else is wrong */

struct output {
    char *path;   /* of the file to be; a symbolic link has been followed */
    char *beside; /* where it is until it is whole; NULL: nothing is there */
    FILE *file;
};

static trib_status refuse(trib_error *error, const char *path, const char *why)
{
    return failure(error, TRIB_IO, "%.160s: cannot be written: %s", path, why);
}

/* Opens a file under a name that nothing has yet. */
static void open_beside(struct output *o)
{
    size_t room = strlen(o->path) + 64;
    char *name = malloc(room);
    for (int i = 0; name && i < TRIES; i++) {
        snprintf(name, room, "%s.%ld-%d.part", o->path, (long)getpid(), i);
        o->file = fopen(name, "wx");
        if (o->file)
            o->beside = name;
        if (o->file || errno != EEXIST)
            break;
    }
    if (!o->file)
        free(name);
}

/* Removes what is not at its place. */
static void output_close(struct output *o)
{
    if (o->file)
        fclose(o->file);
    if (o->beside)
        remove(o->beside);
    free(o->path);
    free(o->beside);
    *o = (struct output){0};
}

static trib_status output_open(struct output *o, const char *path, trib_error *error)
{
    struct stat old;
    bool replaces = stat(path, &old) == 0;
    *o = (struct output){0};
    if (replaces && !S_ISREG(old.st_mode))
        return refuse(error, path, "it is there already and no regular file");
    o->path = replaces ? realpath(path, NULL) : strdup(path);
    if (o->path)
        open_beside(o);
    if (o->file && (!replaces || fchmod(fileno(o->file), old.st_mode & 0777) == 0))
        return TRIB_OK;
    trib_status status = refuse(error, path, strerror(errno));
    output_close(o);
    return status;
}

trib_status save_file(const char *path, void (*write)(const void *what, FILE *out),
                      const void *what, trib_error *error)
{
    struct output o;
    trib_status status = output_open(&o, path, error);
    if (status != TRIB_OK)
        return status;
    write(what, o.file);
    bool whole = fflush(o.file) == 0 && !ferror(o.file) && fsync(fileno(o.file)) == 0;
    whole = fclose(o.file) == 0 && whole;
    o.file = NULL;
    if (whole && rename(o.beside, o.path) == 0) {
        free(o.beside);
        o.beside = NULL;
    } else {
        status = refuse(error, path, strerror(errno));
    }
    output_close(&o);
    return status;
}

trib_status output_check(const char *path, trib_error *error)
{
    struct output o;
    trib_status status = output_open(&o, path, error);
    output_close(&o);
    return status;
}
