/* Files that commands write: none may be one that is read. Those that they write themselves (pages,
 * plots, conversations) appear whole or not at all, as models do: where a file is already there it
 * must be a regular one, a link to it is followed, and its permissions stay. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tributary/status.h"

/* Whether `path`, "-" for standard input, leads to the file that `info` is of. */
bool is_same_file(const struct stat *info, const char *path);

/* TRIB_INVALID where `path` is, or would be, one file with `other`, which `what` names: what is
 * read would be lost. NULL is no file. */
trib_status output_differs(const char *path, const char *other, const char *what,
                           trib_error *error);

/* Writes what `write` writes of `what` beside the place and moves it there. TRIB_IO names path and
 * reason; what stood there then stands there unchanged. */
trib_status save_file(const char *path, void (*write)(const void *what, FILE *out),
                      const void *what, trib_error *error);

/* TRIB_IO where save_file could not begin: a place that cannot be written to is better known before
 * hours of work than after. Leaves everything as it is. */
trib_status output_check(const char *path, trib_error *error);

#endif
