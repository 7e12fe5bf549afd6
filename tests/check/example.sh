#!/bin/sh
# Rule: what is installed is enough. An installation into a scratch folder, and the example compiled
# with nothing but what pkg-config says of it: against the shared library, and against the static
# one once the shared one is gone. Both programs run and say the same.
# $1: the build folder.
. tests/check/report.sh

build=${1:?the build folder}
cases_of='shared static'
if meson introspect "$build" --buildoptions | grep -q '"name": "b_sanitize", "value": "[^n"]'; then
    for kind in $cases_of; do
        skipped "$kind library" "a program without sanitizers cannot use a library with them"
    done
    finish
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
if ! meson install -C "$build" --no-rebuild --quiet --destdir "$scratch" >"$scratch/log" 2>&1; then
    verdict "installing" "$(cat "$scratch/log")"
    finish
fi
PKG_CONFIG_PATH=$(find "$scratch" -name tributary.pc -exec dirname {} \;)
export PKG_CONFIG_PATH
prefix=$scratch$(pkg-config --variable=prefix tributary)
library=$(dirname "$PKG_CONFIG_PATH")
compiler=${CC:-$(first_command cc gcc clang)}

# example KIND [OPTION of pkg-config]: what is wrong with the example and that kind of library.
example() {
    kind=$1
    shift
    flags=$(pkg-config --define-variable=prefix="$prefix" "$@" --cflags --libs tributary) || return
    # shellcheck disable=SC2086  # lists of words
    $compiler -std=c11 -Wall -Wextra -Wpedantic -Werror examples/attention.c -o "$scratch/$kind" \
        $flags 2>&1 || return
    LD_LIBRARY_PATH=$library "$scratch/$kind" >"$scratch/$kind.out" 2>&1 ||
        cat "$scratch/$kind.out"
}

# needs_library PROGRAM: whether it is linked with the shared library.
needs_library() {
    LD_LIBRARY_PATH=$library ldd "$1" | grep -q libtributary
}

complaint=$(example shared)
[ -n "$complaint" ] || needs_library "$scratch/shared" || complaint="it is not linked with it"
verdict "shared library" "$complaint"

rm -f "$library"/libtributary.so*
complaint=$(example static --static)
[ -n "$complaint" ] || ! needs_library "$scratch/static" || complaint="it is linked with the other"
[ -n "$complaint" ] || complaint=$(diff "$scratch/shared.out" "$scratch/static.out")
verdict "static library" "$complaint"
finish
