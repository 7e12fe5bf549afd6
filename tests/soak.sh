#!/bin/sh
# One process under load for a long time: does its memory stay flat, and what it wrote stay right?
#
#   tests/soak.sh TRIB [SECONDS]
#
# `trib batch` answers requests of a model made here, with too little memory for keys and values, so
# that sequences are put back and pages given up, and with a folder whose oldest files must go all
# the time. Resident memory is read each second. It must not be more in the last quarter than it was
# in the second one, but for 2% and a MiB; the answers must be those of a run with memory for all, and
# the folder whole.
set -eu
trib=$1 seconds=${2:-600}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_WAIT_POLICY=passive
model=$scratch/model.gguf

"$trib" synth tiny "$model" --type q8_0 --seed 1 2>/dev/null
# Beginnings that some share, of different lengths; the rest is each request's own.
awk -v count=200000 'BEGIN {
    srand(7)
    for (i = 0; i < count; i++) {
        text = ""
        shared = int(rand() * 60)
        for (word = 0; word < shared; word++)
            text = text " " (i % 5) * 1000 + word
        printf "{\"prompt\": \"%s %d\", \"max_tokens\": %d, \"n\": %d, \"priority\": %d}\n", text, i,
            1 + int(rand() * 60), 1 + int(rand() * 3), int(rand() * 3)
    }
}' >"$scratch/requests"

"$trib" batch "$model" "$scratch/requests" -o "$scratch/results" --parallel 12 --cache 4 \
    --cache-dir "$scratch/folder" --cache-dir-size 40M 2>"$scratch/messages" &
batch=$!
for second in $(seq "$seconds"); do
    sleep 1
    resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$batch/status") || break
    echo "$second $resident"
done >"$scratch/memory"
kill -TERM "$batch" 2>/dev/null || true
wait "$batch" || true
[ "$(wc -l <"$scratch/memory")" -eq "$seconds" ] || { cat "$scratch/messages"; echo "it ended early"; exit 1; }

answers=$(wc -l <"$scratch/results")
head -n 200 "$scratch/requests" >"$scratch/some"
"$trib" batch "$model" "$scratch/some" -o "$scratch/plain" 2>/dev/null
awk -F '[:,]' 'NR == FNR { plain[$0]; next } $2 <= 200 { n++; wrong += !($0 in plain) }
    END { printf "%d answers looked at, %d are others than with memory for all\n", n, wrong
          exit n == 0 || wrong }' "$scratch/plain" "$scratch/results"
"$trib" cache verify "$scratch/folder"
awk -v n="$seconds" -v answers="$answers" '
    $1 > n / 4 && $1 <= n / 2 { before += $2; b++ }
    $1 > 3 * n / 4 { after += $2; a++ }
    END {
        before /= b
        after /= a
        printf "%d answers; resident memory %.0f KiB in the second quarter, %.0f KiB in the last\n",
            answers, before, after
        exit after > before * 1.02 + 1024
    }' "$scratch/memory"
