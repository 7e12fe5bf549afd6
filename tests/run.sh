#!/bin/sh
# Builds one build directory, runs its tests and counts their single cases.
#
#   tests/run.sh BUILD_DIR [arguments of meson test]
#
# The last line is `N passed, N failed, N skipped`. The exit status is 0 when at least one case
# passed and none failed; a build that fails is one failure.
set -u

build=$1
shift
log=$build/meson-logs/testlog.json
rm -f "$log"

if ! ninja -C "$build"; then
    echo "failed: $build does not build"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
meson test -C "$build" --no-rebuild --print-errorlogs "$@"
status=$?
[ -f "$log" ] || log=/dev/null
awk -v status="$status" -f "$(dirname "$0")/count.awk" "$log"
