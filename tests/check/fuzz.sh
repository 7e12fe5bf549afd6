#!/bin/sh
# Rule: every fuzz target tests/fuzz/fuzz_NAME.c starts from seeds: tests/fuzz/corpus/NAME holds at
# least one, and no corpus is left without its target.
. tests/check/report.sh

for path in $(c_files 'fuzz_*.c' tests/fuzz); do
    name=$(basename "$path" .c)
    name=${name#fuzz_}
    seeds=$(find "tests/fuzz/corpus/$name" -type f -size +0 2>/dev/null | wc -l)
    complaint=
    [ "$seeds" -gt 0 ] || complaint="no seed in tests/fuzz/corpus/$name"
    verdict "$name starts from seeds" "$complaint"
done
verdict "every corpus has a target" "$(
    for corpus in tests/fuzz/corpus/*/; do
        name=$(basename "$corpus")
        [ ! -d "$corpus" ] || [ -f "tests/fuzz/fuzz_$name.c" ] || echo "$corpus"
    done
)"
finish
