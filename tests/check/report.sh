# shellcheck shell=sh
# Sourced by the checks: they run in the root of the tree, and write TAP, so that every case counts.

cases=0
failures=0

# verdict NAME COMPLAINTS: the case passed when there is no complaint.
verdict() {
    cases=$((cases + 1))
    if [ -z "$2" ]; then
        echo "ok $cases - $1"
    else
        failures=$((failures + 1))
        echo "not ok $cases - $1"
        printf '%s\n' "$2" | sed 's/^/#   /'
    fi
}

# skipped NAME REASON
skipped() {
    cases=$((cases + 1))
    echo "ok $cases - $1 # SKIP $2"
}

finish() {
    echo "1..$cases"
    exit $((failures > 0))
}

# The first of the commands that is there; nothing when none is.
first_command() {
    for command in "$@"; do
        if command -v "$command" >/dev/null; then
            echo "$command"
            return
        fi
    done
}

# The C files of the tree: c_files NAME_PATTERN FOLDER...
c_files() {
    pattern=$1
    shift
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -type f -name "$pattern"
    done | sort
}
