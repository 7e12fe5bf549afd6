/* Lines that a person types: with editing and a history where standard input is a terminal, plain
 * otherwise. And what Ctrl-C means while a program talks with somebody: it is counted, not obeyed.
 */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

struct line_reader;

enum line_result { LINE_READ, LINE_END, LINE_INTERRUPTED };

/* NULL when there is no memory. From here on Ctrl-C is counted; line_close undoes that and saves
 * the history: $XDG_STATE_HOME/tributary/history, or ~/.local/state/tributary/history. */
struct line_reader *line_open(void);
void line_close(struct line_reader *reader);

/* Whether somebody sits there. */
bool line_interactive(const struct line_reader *reader);

/* The next line, without its newline; valid until the next call. The prompt is shown on standard
 * error, to a person only. */
enum line_result line_read(struct line_reader *reader, const char *prompt, const char **line,
                           size_t *length);

/* How often Ctrl-C was pressed since line_forget_interrupts. */
int line_interrupts(void);
void line_forget_interrupts(void);

#endif
