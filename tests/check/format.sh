#!/bin/sh
# Rule: clang-format 14 leaves every C file as it is (`make format` brings it there). Other versions
# see some lines differently, so they do not judge.
. tests/check/report.sh

formatter=$(first_command clang-format-14 clang-format)
if [ -z "$formatter" ]; then
    skipped "clang-format" "clang-format is not installed"
elif ! "$formatter" --version | grep -q 'version 14\.'; then
    skipped "clang-format" "$("$formatter" --version) is not version 14"
else
    verdict "clang-format" "$(c_files '*.[ch]' include src app bench examples tests |
        xargs "$formatter" --dry-run -Werror 2>&1 |
        awk -F : '/ error: / { places[$1]++ } END { for (f in places) print f ": " places[f] " places" }')"
fi
finish
