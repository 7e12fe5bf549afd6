#!/bin/sh
# Rules for the text of the tree: no marks of unfinished work, no paths of one person's machine, no
# white space at the end of a line, no file of more than 1,000 lines (tables of data, *_table.[ch],
# aside), and every test program is built.
. tests/check/report.sh

# Files that people wrote: data of the tests keeps the bytes it needs.
written() {
    { git ls-files -- . 2>/dev/null || find . -type f ! -path './.git/*' ! -path './build*'; } |
        sed 's|^\./||' | grep -vE '^tests/(fuzz/corpus|golden/data)/' |
        while read -r path; do
            [ ! -f "$path" ] || echo "$path"
        done
}

# search PATTERN [OPTION...]: where a pattern stands in text that people wrote.
search() {
    pattern=$1
    shift
    written | tr '\n' '\0' | xargs -0 grep -nHIE "$@" -e "$pattern"
}

verdict "no marks of unfinished work" "$(search '[T]ODO|[F]IXME|[X]XX' -w)"
verdict "no paths of one machine" \
    "$(search '(^|[^[:alnum:]_./~-])/(home|root|work|Users)/[[:alnum:]]')"
verdict "no white space at the end of a line" "$(search '[[:blank:]]$')"
verdict "no file of more than 1,000 lines" "$(
    written | grep -E '\.([ch]|py|sh|js|css|html|build)$' | grep -vE '_table\.[ch]$' |
        tr '\n' '\0' | xargs -0 wc -l | awk '$2 != "total" && $1 > 1000'
)"
verdict "every test program is built" "$(
    c_files 'test_*.c' tests | while read -r path; do
        grep -qF "'${path#tests/}'" tests/meson.build || echo "$path is not in tests/meson.build"
    done
)"
finish
