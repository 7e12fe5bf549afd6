# Cases of a program as a person meets it, for scripts that source this: a scratch folder that goes
# with the script, the number of cases so far in $n, and expect. The script ends with `echo "1..$n"`.
# shellcheck shell=sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
n=0

# expect NAME STATUS STDOUT STDERR COMMAND...: the exit status, and a pattern (of case) for each
# stream.
expect() {
    name=$1 status=$2 out=$3 err=$4
    shift 4
    n=$((n + 1))
    timeout 60 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    got=$?
    ok=ok
    [ "$got" = "$status" ] || ok="not ok"
    # shellcheck disable=SC2254 # patterns are meant to be patterns
    case $(cat "$scratch/out") in $out) ;; *) ok="not ok" ;; esac
    # shellcheck disable=SC2254
    case $(cat "$scratch/err") in $err) ;; *) ok="not ok" ;; esac
    echo "$ok $n - $name"
    [ "$ok" = ok ] || sed 's/^/# /' "$scratch/out" "$scratch/err" | head -n 20
}

# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$scratch/out" 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$scratch/out" | head -n 20
    fi
}
