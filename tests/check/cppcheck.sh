#!/bin/sh
# Rule: cppcheck finds nothing. What it gets wrong is suppressed where it stands, with a comment
# `cppcheck-suppress rule ; the reason`, so that the reason is read with the code.
# $1: a folder to remember unchanged files in.
. tests/check/report.sh

if ! command -v cppcheck >/dev/null; then
    skipped "cppcheck" "cppcheck is not installed"
    finish
fi
memory=${1:-build/cppcheck}
mkdir -p "$memory"
verdict "cppcheck" "$(c_files '*.c' src app bench examples |
    cppcheck --file-list=- --cppcheck-build-dir="$memory" -j 2 --quiet --std=c11 --language=c \
        --enable=warning,performance,portability --inline-suppr --suppress=missingIncludeSystem \
        -Iinclude -Isrc --template='{file}:{line}: {severity}: {message} [{id}]' 2>&1)"
verdict "every suppression has a reason" \
    "$(c_files '*.[ch]' include src app bench examples | xargs grep -n 'cppcheck-suppress' /dev/null |
        grep -v 'cppcheck-suppress [^ ]* ; .')"
finish
