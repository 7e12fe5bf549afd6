#!/bin/sh
# Folders of keys and values as a person meets them: --cache-dir of trib run, chat and batch, trib
# cache; two programs on one folder at once, programs that are killed, a full disk.
#
#   cache.sh TRIB
#
# The model is made here. Writes TAP.
set -u
trib=$1
# shellcheck source=tests/golden/expect.sh
. "$(dirname "$0")/expect.sh"
model=$scratch/model.gguf
folder=$scratch/folder
export XDG_STATE_HOME="$scratch/state"
"$trib" synth tiny "$model" --type f16 --seed 3 2>"$scratch/err" || exit 1
seq 1 250 | tr '\n' ' ' >"$scratch/text" # 894 tokens, of which 13 pages, 832, can be found

# continued FILE [OPTION...]: a continuation of the text as JSON, without what depends on time and on
# what was cached, into a file.
cat >"$scratch/continued" <<END
file=\$1
shift
'$trib' run '$model' -f '$scratch/text' -n 30 --temperature 0 --threads 2 --json "\$@" >"\$file.json" &&
    sed -e 's/"cached":[0-9]*,//' -e 's/"[a-z]*_tokens_per_s":[^,]*,//g' "\$file.json" >"\$file"
END
continued() {
    sh "$scratch/continued" "$@"
}

expect "cache --help" 0 "Usage: trib cache COMMAND*list*verify*prune*" "" "$trib" cache --help
expect "cache without a command" 2 "" "trib cache: expected COMMAND*" "$trib" cache
expect "an unknown command" 2 "" "trib cache: unknown command 'sing'*" "$trib" cache sing
for part in list verify prune; do
    expect "cache $part --help" 0 "Usage: trib cache $part DIR*--json*" "" "$trib" cache $part --help
    expect "cache $part without a folder" 2 "" "trib cache $part: expected DIR*" "$trib" cache $part
done
for part in list verify "prune --size 1G"; do
    # shellcheck disable=SC2086 # two words
    expect "cache $part of a missing folder" 1 "" "trib: $scratch/none: No such file*" \
        "$trib" cache $part "$scratch/none"
done
expect "prune of nothing in particular" 2 "" "trib cache prune: --size: expected it, --older-than*" \
    "$trib" cache prune "$scratch"
expect "a size that is none" 2 "" "trib cache prune: --size: expected a whole number*K, M, G*'20X'" \
    "$trib" cache prune "$scratch" --size 20X
expect "a size beyond all" 2 "" "trib cache prune: --size: expected a whole number*" \
    "$trib" cache prune "$scratch" --size 99999999999G
expect "an age that is none" 2 "" "trib cache prune: --older-than: expected *" \
    "$trib" cache prune "$scratch" --older-than 1e9
expect "a folder that cannot be" 1 "" "trib: $scratch/none/none: No such file*" \
    "$trib" run "$model" -p a -n 1 --cache-dir "$scratch/none/none"
expect "a file for a folder" 1 "" "trib: $model: expected a folder for KV segments" \
    "$trib" run "$model" -p a -n 1 --cache-dir "$model"

continued "$scratch/plain"
check "the first run finds nothing" continued "$scratch/first" --cache-dir "$folder"
check "and says the same" cmp "$scratch/plain" "$scratch/first"
expect "the second finds the prompt" 0 '*"cached":832,*' "prefill 894 tokens*" sh -c \
    "sh '$scratch/continued' '$scratch/second' --cache-dir '$folder' && cat '$scratch/second.json'"
check "and says the same" cmp "$scratch/plain" "$scratch/second"
expect "it says so to people" 0 "*" "prefill 894 tokens (832 of them cached), *logits *" \
    "$trib" run "$model" -f "$scratch/text" -n 1 --cache-dir "$folder" --cache-dir-size 20M
expect "list" 0 "model *kernels *KV *tokens *MB *last used*f16 *0 to 896*.kv*1 file, * MB" "" \
    "$trib" cache list "$folder"
expect "list --json" 0 '{"folder":*"bytes":*"files":[[]{"file":"*.kv",*"kv":"f16",*"before":0,*' "" \
    "$trib" cache list "$folder" --json
expect "verify" 0 "1 file, * MB, 0 damaged" "" "$trib" cache verify "$folder"
expect "verify --json" 0 '{"folder":*"files":1,"bytes":[0-9]*,"damaged":[[][]]}' "" \
    "$trib" cache verify "$folder" --json
expect "chat has a folder, too" 0 "?*" "" sh -c \
    "seq 1 100 | tr '\n' ' ' | '$trib' chat '$model' --template plain -n 100 --cache-dir '$folder'"
expect "of which it finds the beginning" 0 "2 files, * MB, 0 damaged" "" "$trib" cache verify "$folder"
printf '{"prompt": "%s", "max_tokens": 30}\n' "$(cat "$scratch/text")" >"$scratch/requests"
check "batch has one, too" sh -c "
    '$trib' batch '$model' '$scratch/requests' >'$scratch/answers' 2>'$scratch/err' &&
    '$trib' batch '$model' '$scratch/requests' --cache-dir '$scratch/answered' >'$scratch/again' 2>'$scratch/err' &&
    cmp '$scratch/answers' '$scratch/again'"
expect "which keeps the prompt" 0 "1 file, * MB, 0 damaged" "" "$trib" cache verify "$scratch/answered"

# Damage: a byte in the middle of the file with the prompt.
file=$(find "$folder" -name '*.kv' -size +500k)
printf x | dd of="$file" bs=1 seek=$(($(wc -c <"$file") / 2)) conv=notrunc 2>/dev/null
expect "verify names what is damaged" 1 "${file##*/}: page *: its checksum*2 files, * MB, 1 damaged" "" \
    "$trib" cache verify "$folder"
expect "verify --json names it, too" 1 '*"damaged":[[]{"file":"*.kv","message":"*checksum*' "" \
    "$trib" cache verify "$folder" --json
expect "a run notes it" 0 "" "note: ${file##*/}: page *: its checksum*" \
    sh "$scratch/continued" "$scratch/damaged" --cache-dir "$folder"
check "and says the same" cmp "$scratch/plain" "$scratch/damaged"
expect "prune removes it" 0 "1 file removed, * MB; * MB left" "" \
    "$trib" cache prune "$folder" --damaged
expect "what was computed again is left" 0 "* files, * MB, 0 damaged" "" "$trib" cache verify "$folder"
printf x >"$scratch/small"
cp "$scratch/small" "$file"
expect "list shows what is no segment" 0 "*damaged*not a KV segment file*" "" "$trib" cache list "$folder"
expect "prune by age leaves what is young" 0 "0 files removed, 0.0 MB; *" "" \
    "$trib" cache prune "$folder" --older-than 1
touch -d '3 days ago' "$file"
expect "prune by age" 0 '{"folder":*"files":1,"bytes":1,"left":[0-9]*}' "" \
    "$trib" cache prune "$folder" --older-than 2.5 --json
expect "prune to a size" 0 "*; 0.0 MB left" "" "$trib" cache prune "$folder" --size 1K
expect "and nothing is left" 0 "0 files, 0.0 MB" "" "$trib" cache list "$folder"

# Two programs at once, several times: both say what one alone says.
alike=0
for _ in 1 2 3; do
    "$trib" cache prune "$folder" --size 0 >/dev/null
    continued "$scratch/one" --cache-dir "$folder" 2>"$scratch/one.err" &
    continued "$scratch/two" --cache-dir "$folder" 2>"$scratch/two.err"
    wait
    cmp -s "$scratch/plain" "$scratch/one" && cmp -s "$scratch/plain" "$scratch/two" &&
        ! grep -q note "$scratch/one.err" "$scratch/two.err" && alike=$((alike + 1))
done
check "two programs share a folder" test $alike = 3
expect "and leave it whole" 0 "* file*, * MB, 0 damaged" "" "$trib" cache verify "$folder"

# Programs are killed after a time that grows from nothing to what a run takes.
"$trib" cache prune "$folder" --size 0 >/dev/null
start=$(date +%s%N)
continued "$scratch/first" --cache-dir "$folder" 2>/dev/null
whole=$((($(date +%s%N) - start) / 1000000))
for tenth in 0 1 2 3 4 5 6 7 8 9 10; do
    [ $((tenth % 3)) = 1 ] || "$trib" cache prune "$folder" --size 0 >/dev/null
    "$trib" run "$model" -f "$scratch/text" -n 30 --temperature 0 --threads 2 --cache-dir "$folder" \
        >/dev/null 2>&1 &
    sleep "$(printf '%d.%03d' $((whole * tenth / 10000)) $((whole * tenth / 10 % 1000)))"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
done
expect "programs that are killed leave no damage" 0 "* file*, * MB, 0 damaged" "" \
    "$trib" cache verify "$folder"
expect "and nothing to note" 0 "" "" sh -c \
    "sh '$scratch/continued' '$scratch/killed' --cache-dir '$folder' 2>'$scratch/killed.err' &&
    ! grep note '$scratch/killed.err'"
check "the next run says the same" cmp "$scratch/plain" "$scratch/killed"

# No file can become longer than 100 blocks of 512 bytes.
"$trib" cache prune "$folder" --size 0 >/dev/null
find "$folder" -name '*.part' -delete # of programs that were killed; they go after an hour
if grep -q '__tsan_init' "$trib"; then # which maps a file of its own, longer than the limit
    n=$((n + 1))
    echo "ok $n - a full disk is noted # SKIP the sanitizer needs longer files"
else
    expect "a full disk is noted" 0 "?*" "*note: *.kv: cannot be written: File too large*" sh -c \
        "trap '' XFSZ; ulimit -f 100; '$trib' run '$model' -f '$scratch/text' -n 30 --cache-dir '$folder'"
fi
expect "and nothing is left of it" 0 "" "" sh -c "find '$folder' -name '*.part'"
echo "1..$n"
