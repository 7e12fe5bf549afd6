#!/bin/sh
# trib batch as a person meets it: results, refusals, and above all that a run that ends early,
# killed at any moment, loses no line and does none again.
#
#   batch.sh TRIB
#
# Writes TAP.
set -u
trib=$1
# shellcheck source=tests/golden/expect.sh
. "$(dirname "$0")/expect.sh"
own=$(dirname "$0")/../../models/shakespeare.gguf
requests=$scratch/requests
count=40

# Prompts that share their beginning or do not, one text or several, greedy or drawn.
awk -v count=$count 'BEGIN {
    shared = "KING RICHARD:\\nWhat says the duke, my lord? I pray you tell, for time is short tonight."
    for (i = 1; i <= count; i++) {
        printf "{\"id\":\"r%d\",\"prompt\":\"%s%d\",", i, i % 3 ? shared : "ROMEO: ", i
        printf "\"max_tokens\":%d,\"seed\":%d,", 5 + i * 7 % 25, i
        printf "\"n\":%d,\"temperature\":%s}\n", i % 5 == 0 ? 3 : 1, i % 4 ? "0.9" : "0"
    }
}' >"$requests"

# answer FILE [OPTION...]: what is sought in the end.
answer() {
    file=$1
    shift
    timeout 120 "$trib" batch "$own" "$requests" -o "$file" -j 4 "$@" 2>"$scratch/said"
}

# sorted FILE: results by line.
sorted() {
    sort "$1" >"$1.sorted"
}

# same FILE: its lines are those of the run that was not interrupted, each once.
same() {
    [ "$(wc -l <"$1")" -eq "$(wc -l <"$scratch/whole")" ] && sorted "$1" &&
        cmp "$1.sorted" "$scratch/whole.sorted"
}

expect "batch --help" 0 "Usage: trib batch MODEL REQUESTS*--output*--parallel*" "" "$trib" batch --help
expect "batch without requests" 2 "" "trib batch: expected MODEL REQUESTS*" "$trib" batch "$own"
expect "batch: missing requests" 1 "" "trib: $scratch/none: No such file*" \
    "$trib" batch "$own" "$scratch/none"
expect "batch: a missing model" 1 "" "trib: $scratch/none: No such file*" \
    "$trib" batch "$scratch/none" "$requests"
expect "batch: more MiB of cache than bytes can be counted" 2 "" "trib batch: --cache: expected at most *" \
    "$trib" batch "$own" "$requests" --cache 17592186044416

check "all requests are answered" answer "$scratch/whole"
check "each has a line" test "$(wc -l <"$scratch/whole")" -eq $count
sorted "$scratch/whole"
for options in "-j 1" "-j 40 --threads 1" "--threads 3 --prefill-chunk 64" "--cache 1"; do
    # shellcheck disable=SC2086 # a list of words
    answer "$scratch/other" $options
    check "the same with $options" same "$scratch/other"
    rm -f "$scratch/other"
done
expect "to standard output as well" 0 "{\"line\":*" "* of $count requests*" \
    "$trib" batch "$own" "$requests"
grep '^{' "$scratch/out" >"$scratch/other"
check "which are the same lines" same "$scratch/other"
rm -f "$scratch/other"

# The text of a request is what `trib run` makes of it.
"$trib" run "$own" -p "ROMEO: 3" -n 26 -t 0.9 -s 3 2>"$scratch/said" >"$scratch/run"
check "a text is that of trib run" sh -c "grep -q '\"id\":\"r3\",' '$scratch/whole' &&
    grep '\"id\":\"r3\",' '$scratch/whole' | sed 's/.*\"text\":\"\([^\"]*\)\".*/\1/;s/\\\\n/\n/g' |
    cmp - '$scratch/run'"

# A stop string ends completions out of their order; a result has them in it all the same.
echo '{"prompt":"ROMEO:","n":6,"max_tokens":60,"stop":["e"],"temperature":1}' >"$scratch/six"
"$trib" batch "$own" "$scratch/six" >"$scratch/other" 2>"$scratch/said"
expect "completions are in order" 0 "0 1 2 3 4 5 " "" \
    sh -c "grep -o '\"index\":[0-9]*' '$scratch/other' | cut -d : -f 2 | tr '\n' ' '"
expect "though they ended out of it" 0 "[1-9]*" "" \
    sh -c "grep -o '\"tokens\":[0-9]*' '$scratch/other' | sort -u | wc -l | grep -v '^1$'"
rm -f "$scratch/other"

# ---- Ending early ----

# end_at SIGNAL LINES: sends it once so many lines are there; how many there were in the end is $had.
end_at() {
    "$trib" batch "$own" "$requests" -o "$scratch/early" -j 4 2>"$scratch/said" &
    pid=$!
    tries=0
    while [ "$tries" -lt 3000 ] && kill -0 $pid 2>"$scratch/kill" &&
        { [ ! -f "$scratch/early" ] || [ "$(wc -l <"$scratch/early")" -lt "$2" ]; }; do
        sleep 0.01
        tries=$((tries + 1))
    done
    kill -s "$1" $pid 2>"$scratch/kill"
    wait $pid 2>"$scratch/kill"
    status=$?
    had=$(wc -l <"$scratch/early")
}

# early SIGNAL LINES: the same, once more where the run was over before it was ended. The lines that
# are whole are kept, to be compared.
early() {
    cp "$scratch/early" "$scratch/begin" 2>"$scratch/kill" || : >"$scratch/begin"
    for _ in 1 2 3 4 5; do
        cp "$scratch/begin" "$scratch/early"
        end_at "$1" "$2"
        [ "$had" -ge $count ] || break
    done
    head -n "$had" "$scratch/early" >"$scratch/had"
    [ "$had" -ge "$2" ] && [ "$had" -lt $count ]
}

# goes_on: what was there stays as it was, byte for byte, and the rest comes behind it.
goes_on() {
    answer "$scratch/early" && same "$scratch/early" &&
        head -n "$had" "$scratch/early" | cmp - "$scratch/had"
}

for lines in 0 1 7 25; do
    rm -f "$scratch/early"
    check "killed after $lines lines" early KILL $lines
    check "and gone on with" goes_on
done
rm -f "$scratch/early"
early KILL 3
first=$had
check "killed again and again" early KILL $((first + 5))
check "and gone on with in the end" goes_on
rm -f "$scratch/early"
check "interrupted" early TERM 5
check "with status 1" test "$status" -eq 1
check "says so" grep -q "interrupted; the same command goes on" "$scratch/said"
check "ends with a whole line" test "$(tail -c 1 "$scratch/early" | od -An -c | tr -d ' ')" = '\n'
check "and is gone on with" goes_on

# A kill within a write leaves the begin of a line: every place in one, and some elsewhere.
length=$(head -n 3 "$scratch/whole" | wc -c)
for cut in 1 9 "$((length - 1))" "$length" "$((length + 30))"; do
    head -c "$cut" "$scratch/whole" >"$scratch/early"
    had=$(wc -l <"$scratch/early")
    head -n "$had" "$scratch/early" >"$scratch/had"
    check "cut after $cut bytes" goes_on
done

cp "$scratch/whole" "$scratch/again"
expect "what is finished is not done again" 0 "" "$count of $count requests are done*" \
    "$trib" batch "$own" "$requests" -o "$scratch/again"
check "nor touched" cmp "$scratch/whole" "$scratch/again"
head -n 10 "$scratch/whole" >"$scratch/again"
expect "one run at a time" 1 "" "trib: $scratch/again: in use by another run" \
    flock "$scratch/again" "$trib" batch "$own" "$requests" -o "$scratch/again"
check "which leaves the results as they are" test "$(wc -l <"$scratch/again")" -eq 10

if grep -q '__tsan_init' "$trib"; then # which maps a file of its own, longer than the limit
    n=$((n + 1))
    echo "ok $n - a full disk # SKIP the sanitizer needs longer files"
else
    expect "a full disk" 1 "" "*trib: $scratch/full: cannot be written: File too large" sh -c \
        "trap '' XFSZ; ulimit -f 5; '$trib' batch '$own' '$requests' -o '$scratch/full' -j 4"
    check "leaves whole lines" test "$(tail -c 1 "$scratch/full" | od -An -c | tr -d ' ')" = '\n'
    mv "$scratch/full" "$scratch/early"
    had=$(wc -l <"$scratch/early")
    head -n "$had" "$scratch/early" >"$scratch/had"
    check "and is gone on with, too" goes_on
fi

# ---- What is noticed ----

head -n 10 "$scratch/whole" >"$scratch/some"
line=$(head -n 1 "$scratch/some" | sed 's/{"line":\([0-9]*\).*/\1/')
sed "${line}s/seed\":/seed\":1/" "$requests" >"$scratch/edited"
expect "a request that was edited" 1 "" "trib: $scratch/some: line 1: line $line of $scratch/edited is not what it was*" \
    "$trib" batch "$own" "$scratch/edited" -o "$scratch/some"
expect "other options" 1 "" "trib: $scratch/some: line 1 was made with another model or other options*" \
    "$trib" batch "$own" "$requests" -o "$scratch/some" --top-k 3

# Another fine-tune: a model of the same shape and size, one weight of which differs in one bit.
cp "$own" "$scratch/copy.gguf"
cp "$own" "$scratch/tuned.gguf"
at=$(($(wc -c <"$own") / 2))
byte=$(od -An -tu1 -j $at -N 1 "$own" | tr -d ' ')
# shellcheck disable=SC2059 # the format is the byte
printf "\\$(printf '%03o' $((byte ^ 1)))" |
    dd of="$scratch/tuned.gguf" bs=1 seek=$at conv=notrunc 2>"$scratch/said"
check "one byte of the other model differs" test "$(cmp -l "$own" "$scratch/tuned.gguf" | wc -l)" -eq 1
{ cat "$scratch/some" && printf '{"line":'; } >"$scratch/torn"
cp "$scratch/torn" "$scratch/early"
expect "another model of the same shape and size" 1 "" \
    "trib: $scratch/early: line 1 was made with another model or other options*" \
    "$trib" batch "$scratch/tuned.gguf" "$requests" -o "$scratch/early"
check "touches nothing" cmp "$scratch/torn" "$scratch/early"
cp "$scratch/whole" "$scratch/again"
expect "not even where all is done" 1 "" \
    "trib: $scratch/again: line 1 was made with another model or other options*" \
    "$trib" batch "$scratch/tuned.gguf" "$requests" -o "$scratch/again"
check "which stays as it was" cmp "$scratch/whole" "$scratch/again"
if "$trib" batch "$scratch/copy.gguf" "$requests" -o "$scratch/early" -j 4 2>"$scratch/said"; then
    check "a copy of the model elsewhere goes on" same "$scratch/early"
else
    check "a copy of the model elsewhere goes on" false
fi
head -n 1 "$requests" >"$scratch/first"
"$trib" batch "$scratch/tuned.gguf" "$scratch/first" -o "$scratch/mixed" 2>"$scratch/said"
grep -v '^{"line":1,' "$scratch/some" >>"$scratch/mixed"
expect "results of two models in one file" 1 "" \
    "trib: $scratch/mixed: line 2 was made with another model or other options*" \
    "$trib" batch "$scratch/tuned.gguf" "$requests" -o "$scratch/mixed"
expect "are neither's" 1 "" \
    "trib: $scratch/mixed: line 1 was made with another model or other options*" \
    "$trib" batch "$own" "$requests" -o "$scratch/mixed"
TRIB_CPU=ref "$trib" batch "$own" "$scratch/first" -o "$scratch/ref" 2>"$scratch/said"
if TRIB_CPU=avx2 "$trib" batch "$own" "$scratch/first" >"$scratch/said" 2>&1; then
    expect "another kernel table" 1 "" "trib: $scratch/ref: line 1 was made with another model*" \
        env TRIB_CPU=avx2 "$trib" batch "$own" "$scratch/first" -o "$scratch/ref"
else
    n=$((n + 1))
    echo "ok $n - another kernel table # SKIP this machine has one alone"
fi

echo "my diary" >"$scratch/diary"
cp "$scratch/diary" "$scratch/copy"
expect "a file that holds something else" 1 "" "trib: $scratch/diary: line 1: expected a result of trib batch*" \
    "$trib" batch "$own" "$requests" -o "$scratch/diary"
printf 'my diary' >"$scratch/diary"
expect "and one without an end" 1 "" "trib: $scratch/diary: line 1: expected a result of trib batch*" \
    "$trib" batch "$own" "$requests" -o "$scratch/diary"
check "which stays" test "$(cat "$scratch/diary")" = "my diary"
expect "the requests as output" 1 "" "trib: $requests: expected another file than the requests" \
    "$trib" batch "$own" "$requests" -o "$requests"
check "none of it touched what was there" sh -c \
    "head -n 10 '$scratch/whole' | cmp - '$scratch/some' && [ \$(wc -l <'$requests') -eq $count ]"

# ---- Lines that are wrong ----

cat >"$scratch/wrong" <<'END'
{"prompt":"ROMEO:","max_tokens":3}
not json

[1]
{"id":7,"prompt":"A","temprature":1}
{"prompt":"A","max_tokens":"many"}
{"prompt":"A","max_tokens":0}
{"prompt":"A","n":3,"best_of":2}
{"prompt":["A"]}
{"prompt":[1000000]}
{"prompt":"A","stop":[1]}
{"prompt":"A","stop":""}
{"max_tokens":3}
{"prompt":""}
{"prompt":"A","prompt":"B"}
{"prompt":"A","top_p":7}
{"prompt":"A","logit_bias":{"x":1}}
{"prompt":"A","seed":-1}
END
yes "long " | head -n 200 | tr -d '\n' | sed 's/.*/{"prompt":"&"}\n/' >>"$scratch/wrong"
echo '{"id":"last","prompt":"JULIET:","max_tokens":3}' >>"$scratch/wrong"
expect "wrong lines are said to be so, and the others answered" 1 "*\"id\":\"last\",\"prompt_tokens\":7*" \
    "trib: $scratch/wrong: line 2: JSON: *line 4: JSON: expected an object, found an array*line 5: temprature: there is no such field*line 6: max_tokens: expected an integer, found a string*19 of 19 requests, 17 of them with an error*" \
    "$trib" batch "$own" "$scratch/wrong"
cp "$scratch/out" "$scratch/answers"
check "each has a result" test "$(grep -c '^{"line":' "$scratch/answers")" -eq 19
check "with its id and its error" grep -q '"line":5,.*"id":7,"error":"temprature: there is no such field"' "$scratch/answers"
check "a prompt that is too long is one" grep -q '"line":19,.*"error":"a prompt of 1000 tokens does not fit' "$scratch/answers"
for try in first second; do # what was wrong is not tried again, and not forgotten
    expect "the status says so, the $try time" 1 "" "*19 of 19 requests*17 of them with an error*" \
        "$trib" batch "$own" "$scratch/wrong" -o "$scratch/wrong.out"
done

expect "without a standard error they are not told of among the results" 1 "" "" sh -c \
    "'$trib' batch '$own' '$scratch/wrong' -o '$scratch/silent' 2>&-"
check "which are the same" sh -c \
    "sort '$scratch/wrong.out' >'$scratch/sorted' && sort '$scratch/silent' | cmp - '$scratch/sorted'"
expect "nothing is written where standard output is closed" 1 "" \
    "*trib: standard output: cannot be written: *" sh -c "'$trib' batch '$own' '$scratch/wrong' >&-"

# Of three requests of a model with a context of 2,048 the cache holds one, and the context two.
"$trib" synth tiny "$scratch/tiny.gguf" 2>"$scratch/said"
for length in 1500 3000 5; do
    awk -v count="$length" 'BEGIN {
        printf "{\"prompt\":[3"
        for (i = 1; i < count; i++)
            printf ",%d", i % 250 + 3
        print "],\"max_tokens\":3}"
    }'
done >"$scratch/large"
expect "a cache that is too small for a request" 1 "" \
    "*line 1: the KV cache is full*2 of 3 requests, 1 of them with an error*too small for 1 of 3 requests; *" \
    "$trib" batch "$scratch/tiny.gguf" "$scratch/large" -o "$scratch/large.out" --cache 1
expect "leaves it to a run with a larger one" 1 "" "3 of 3 requests*before), 1 of them with an error*" \
    "$trib" batch "$scratch/tiny.gguf" "$scratch/large" -o "$scratch/large.out" --cache 64
check "which answers it" grep -q '"line":1,.*"completion_tokens":3' "$scratch/large.out"
check "but not what the context is too small for" \
    grep -q '"line":2,.*"error":"a prompt of 3000 tokens does not fit' "$scratch/large.out"

# ---- What can be asked for ----

# one JSON PATTERN NAME: the result of a request.
one() {
    printf '%s\n' "$1" >"$scratch/one"
    expect "$3" 0 "$2" "*" "$trib" batch "$own" "$scratch/one" -t 0
}

one '{"prompt":"ROMEO:","stop":"\n","max_tokens":9}' '*"text":"","finish_reason":"stop","tokens":1*' \
    "a stop string"
one '{"prompt":"ROMEO:","max_tokens":2,"logprobs":2}' \
    '*"logprobs":[[]{"id":10,"text":"\\n","logprob":-*,"top":[[]{"id":10,*},{"id":*}[]]},{*}[]]}*' \
    "log probabilities"
one '{"prompt":"ROMEO:","max_tokens":2,"n":2,"best_of":3,"temperature":1,"logprobs":true}' \
    '*"completions":[[]{"index":*"logprobs":*},{"index":*"logprobs":*}[]]}*' "the best of several"
one '{"prompt":"ROMEO:","max_tokens":2,"logit_bias":{"10":-1000000,"65":1000000}}' '*"text":"AA"*' "biases"
one '{"prompt":[82,79,77,69,79,58],"max_tokens":1}' '*"prompt_tokens":6,*"text":"\\n"*' "token ids"
one '{"id":null,"prompt":"ROMEO:","max_tokens":1,"stop":null}' '*,"prompt_tokens":6*' "nulls"
echo "1..$n"
