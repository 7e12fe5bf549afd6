/* The file of results of `trib batch`: a line for each request that is finished, each written
 * whole, so that a run that was killed goes on where it was.
 *
 *     {"line":3,"hash":"...","run":"...", ...}
 *
 * `line` and `hash` say which request it was, by its place and its bytes, `run` what it was
 * answered with: model, options, program and machine. A result of anything else is not gone on
 * from.
 *
 * Opening finds out what can be known before the model is loaded, which takes time; only when the
 * run is known, too, do the results begin, and nothing is touched before. */
#ifndef CLI_BATCH_RESULTS_H
#define CLI_BATCH_RESULTS_H

#include <stdint.h>

#include <jansson.h>

#include "tributary/model.h"

/* The requests: lines that are not blank. */
struct batch_requests {
    const char *name;
    char *bytes;
    struct batch_entry {
        size_t number; /* of the line, from 1 */
        trib_text text;
        bool done;
    } * entries; /* [count] by rising number */
    size_t count;
};

enum { BATCH_HASH = 17 }; /* bytes of one in hexadecimal digits, terminated */

struct batch_results {
    const char *name;
    int file;
    bool regular;         /* it can be gone on from */
    bool torn;            /* a line behind those is not whole */
    uint64_t length;      /* bytes of whole lines */
    char run[BATCH_HASH]; /* of what is written */
    struct {
        char run[BATCH_HASH];
        size_t line;     /* 0: there is none */
    } had[2];            /* the first run that made any of them, and the first other one */
    size_t done, failed; /* requests, and those of them with an error */
};

/* Reads all requests; "-" is standard input. */
trib_status batch_requests_read(struct batch_requests *requests, const char *path,
                                trib_error *error);
void batch_requests_close(struct batch_requests *requests);

/* Opens the results, NULL for standard output, and marks requests that are done. The file stays as
 * it is. TRIB_INVALID: they are in use, no results, or results of other requests. */
trib_status batch_results_open(struct batch_results *results, const char *path,
                               struct batch_requests *requests, trib_error *error);

/* Says what is answered with; a last line that is not whole is cut off. TRIB_INVALID: some of them
 * were answered with something else; then the file stays as it is. */
trib_status batch_results_begin(struct batch_results *results, uint64_t run, trib_error *error);

/* Writes the result of a request: its line, with the fields of `rest`, which is taken. On failure
 * the file ends with the line before. */
trib_status batch_results_add(struct batch_results *results, struct batch_entry *entry,
                              json_t *rest, trib_error *error);

/* Writes what the system holds back to the disk; false where that fails. Safe on one that is not
 * open. */
bool batch_results_close(struct batch_results *results);

#endif
