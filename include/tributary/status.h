/* Tributary: status codes, the error record and the version.
 *
 * Every function that can fail for a reason outside the program (a file, a request, memory) returns
 * a trib_status. The caller may pass a trib_error to learn more; it may also pass NULL. The message
 * is one line of text without a newline and names the file, the field, what was expected and what
 * was found. Functions that cannot fail return their result.
 */
#ifndef TRIBUTARY_STATUS_H
#define TRIBUTARY_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define TRIB_VERSION "0.1.0"

/* The one list of statuses: X(NAME, "what it means"). */
#define TRIB_STATUS_LIST(X)                                                                        \
    X(OK, "success")                                                                               \
    X(INVALID, "an argument is outside its contract")                                              \
    X(NO_MEMORY, "memory could not be had")                                                        \
    X(IO, "the operating system refused a file operation")                                         \
    X(FORMAT, "a file is malformed")                                                               \
    X(UNSUPPORTED, "well-formed, but not something this build can use")                            \
    X(FULL, "a limit set by the caller is reached")                                                \
    X(STOPPED, "the caller asked to stop")

typedef enum trib_status {
#define TRIB_STATUS_ENUM(name, meaning) TRIB_##name,
    TRIB_STATUS_LIST(TRIB_STATUS_ENUM)
#undef TRIB_STATUS_ENUM
} trib_status;

/* Filled by a failing call when the caller passes one; owned by the caller. A succeeding call
 * leaves it as it was. `message` is always terminated; a longer one is cut. */
typedef struct trib_error {
    trib_status status;
    char message[256];
} trib_error;

/* "FORMAT" for TRIB_FORMAT; "?" for a value that is no status. Static storage. */
const char *trib_status_name(trib_status status);

/* The meaning of a status as in TRIB_STATUS_LIST; "?" for a value that is none. Static storage. */
const char *trib_status_meaning(trib_status status);

#ifdef __cplusplus
}
#endif

#endif
