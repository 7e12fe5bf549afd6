#!/bin/sh
# Builds every fuzz target and runs it for a while.
#
#   tests/fuzz/run.sh SECONDS BUILD_DIR     BUILD_DIR configured with CC=clang and -Dfuzz=true
#
# Each target starts from a copy of its seeds, so the source tree stays as it is; an input that makes
# it fail is kept in BUILD_DIR/findings. The last line is `N passed, N failed, N skipped`.
set -u

if [ $# -ne 2 ]; then
    echo "usage: tests/fuzz/run.sh SECONDS BUILD_DIR" >&2
    exit 2
fi
seconds=$1
build=$2
folder=$(dirname "$0")
passed=0
failed=0

if ! ninja -C "$build" fuzz-targets; then
    echo "failed: $build does not build"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$build/findings"

# fuzz NAME: what it says, and its exit status, in files.
fuzz() {
    mkdir "$scratch/$1"
    cp "$folder/corpus/$1"/* "$scratch/$1"
    echo "fuzz_$1: $seconds s from $(find "$scratch/$1" -type f | wc -l) seeds"
    # malloc_limit_mb: no small file may ask for much memory.
    "$build/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=64 -artifact_prefix="$build/findings/$1-" -print_final_stats=1 \
        "$scratch/$1" >"$scratch/$1.log" 2>&1
    echo $? >"$scratch/$1.status"
}

names='' started=0
for source in "$folder"/fuzz_*.c; do # as many at once as there are processors
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    names="$names $name"
    fuzz "$name" &
    started=$((started + 1))
    [ $((started % $(nproc))) -ne 0 ] || wait
done
wait
for name in $names; do
    if [ "$(cat "$scratch/$name.status")" = 0 ]; then
        passed=$((passed + 1))
        grep -E '^(Done|stat::)' "$scratch/$name.log" | sed "s/^/fuzz_$name: /"
    else
        failed=$((failed + 1))
        echo "failed: fuzz_$name"
        tail -n 60 "$scratch/$name.log"
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
