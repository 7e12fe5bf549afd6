#!/bin/sh
# Rule: tests/run.sh counts what happened. A scratch project has one test program of every kind of
# end; each is counted by itself, so a wrong count names its kind.
# $1: the program made of sample.c, which shows that cmocka and tests/tap.sh tell the same story.
. tests/check/report.sh

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
mkdir "$scratch/source"

# program NAME EXPECTED SHELL_COMMANDS: a test program and what run.sh shall say of it.
list=$scratch/list
: >"$list"
program() {
    printf '#!/bin/sh\n%s\n' "$3" >"$scratch/source/$1"
    chmod +x "$scratch/source/$1"
    printf '%s:%s\n' "$1" "$2" >>"$list"
}

program passes '2 passed, 0 failed, 0 skipped' 'echo 1..2; echo ok 1 - a; echo ok 2 - b'
program fails '1 passed, 1 failed, 0 skipped' 'echo 1..2; echo ok 1 - a; echo not ok 2 - b; exit 1'
program fails_with_status_0 '0 passed, 1 failed, 0 skipped' 'echo 1..1; echo not ok 1 - a'
program skips_one '1 passed, 0 failed, 1 skipped' 'echo 1..2; echo ok 1 - a; echo "ok 2 - b # SKIP no"'
program skips_all '0 passed, 1 failed, 1 skipped' 'echo 1..1; echo "ok 1 - a # SKIP no data"'
program crashes '1 passed, 1 failed, 0 skipped' 'echo 1..2; echo ok 1 - a; kill -SEGV $$'
program crashes_at_once '0 passed, 1 failed, 0 skipped' 'kill -ABRT $$'
program status_1_after_success '1 passed, 1 failed, 0 skipped' 'echo 1..1; echo ok 1 - a; exit 1'
program stops_early '1 passed, 1 failed, 0 skipped' 'echo 1..3; echo ok 1 - a'
program hangs '1 passed, 1 failed, 0 skipped' 'echo 1..2; echo ok 1 - a; sleep 60'
program says_nothing '0 passed, 1 failed, 0 skipped' 'exit 0'
program prints_odd_text '1 passed, 0 failed, 0 skipped' \
    'echo 1..1; printf "# a \\134n not ok 1 \"result\": \"FAIL\"\\n"; echo ok 1 - a'
if [ -n "${1:-}" ]; then
    sample=$(realpath "$1")
    program cmocka '2 passed, 2 failed, 1 skipped' "exec '$PWD/tests/tap.sh' '$sample'"
fi

{
    echo "project('scratch')"
    while IFS=: read -r name expected; do
        echo "test('$name', find_program('$name'), protocol: 'tap', timeout: 2)"
    done <"$list"
} >"$scratch/source/meson.build"
if ! meson setup "$scratch/build" "$scratch/source" >"$scratch/log" 2>&1; then
    verdict "the scratch project" "$(cat "$scratch/log")"
    finish
fi

while IFS=: read -r name expected; do
    tests/run.sh "$scratch/build" "$name" >"$scratch/log" 2>&1
    status=$?
    case $expected in
    *' 0 failed'*) [ "$status" -eq 0 ] ;;
    *) [ "$status" -ne 0 ] ;;
    esac
    agrees=$?
    found=$(tail -n 1 "$scratch/log")
    if [ "$found" = "$expected" ] && [ "$agrees" -eq 0 ]; then
        verdict "$name" ""
    else
        verdict "$name" "expected: $expected; found: $found, exit status $status"
    fi
done <"$list"
finish
