/* A conversation as a list of messages, and as a JSON file. */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "tributary/model.h"

struct talk {
    trib_message *messages; /* their bytes are this list's own */
    size_t count, capacity;
};

/* Copies the bytes; false when there is no memory, and then nothing is added. */
bool talk_add(struct talk *talk, trib_role role, const char *bytes, size_t length);
void talk_drop_last(struct talk *talk);
void talk_clear(struct talk *talk);

/* {"messages": [{"role": "user", "content": "..."}, ...]}, written whole or not at all. Bytes that
 * are no UTF-8 become U+FFFD. */
trib_status talk_save(const struct talk *talk, const char *path, trib_error *error);

/* Reads such a file, or a bare list of messages, into an empty *talk. A file that says anything
 * else is TRIB_FORMAT, naming the message; *talk is then empty. */
trib_status talk_load(struct talk *talk, const char *path, trib_error *error);

#endif
