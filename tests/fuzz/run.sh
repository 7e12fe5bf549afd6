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

for source in "$folder"/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    mkdir "$scratch/$name"
    cp "$folder/corpus/$name"/* "$scratch/$name"
    echo "fuzz_$name: $seconds s from $(find "$scratch/$name" -type f | wc -l) seeds"
    # malloc_limit_mb: no small file may ask for much memory.
    if "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=64 -artifact_prefix="$build/findings/$name-" -print_final_stats=1 \
        "$scratch/$name" >"$scratch/log" 2>&1; then
        passed=$((passed + 1))
        grep -E '^(Done|stat::)' "$scratch/log"
    else
        failed=$((failed + 1))
        echo "failed: fuzz_$name"
        tail -n 60 "$scratch/log"
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
