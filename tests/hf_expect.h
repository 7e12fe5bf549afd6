/* Folders of hf_build.h, opened. */
#ifndef HF_EXPECT_H
#define HF_EXPECT_H

#include "file/hf_folder.h"
#include "hf_build.h"
#include "test.h"

/* The folder as a file, which the caller closes. */
static inline struct gguf *hf_opened(const struct hf_build *b)
{
    struct gguf *file;
    trib_error error;
    if (hf_folder_open(&file, b->path, &error))
        fail_msg("%s", error.message);
    return file;
}

/* The folder does not open; `says` stands in the message. */
static inline void hf_refused(const struct hf_build *b, trib_status status, const char *says)
{
    struct gguf *file;
    trib_error error = {0};
    if (hf_folder_open(&file, b->path, &error) != status || !strstr(error.message, says))
        fail_msg("%s \"%s\": expected %s and \"%s\"", trib_status_name(error.status), error.message,
                 trib_status_name(status), says);
    assert_null(file);
}

#endif
