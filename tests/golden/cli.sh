#!/bin/sh
# The program as a person meets it: what it prints where, and with which exit status.
#
#   cli.sh TRIB     TRIB_DATA names the folder of test data; cases that need it are skipped without it
#
# Writes TAP. Each case is one call of `expect`.
set -u
trib=$1
data=${TRIB_DATA:-../shared/data}
model=$data/stories260K/stories260K.gguf
# shellcheck source=tests/golden/expect.sh
. "$(dirname "$0")/expect.sh"
skip=
[ -r "$model" ] || skip="no test data $model"

expect_with_data() {
    if [ -n "$skip" ]; then
        n=$((n + 1))
        echo "ok $n - $1 # SKIP $skip"
    else
        expect "$@"
    fi
}

: >"$scratch/empty"
echo "once upon a time" >"$scratch/text"
printf 'once upon\na time' >"$scratch/two-lines"

expect "no command is wrong usage" 2 "" "Usage: trib COMMAND*" "$trib"
expect "an unknown command is wrong usage" 2 "" "trib: unknown command 'sing'*" "$trib" sing
expect "help goes to standard output" 0 "Usage: trib COMMAND*run*inspect*tokenize*" "" "$trib" --help
expect "version" 0 "trib [0-9]*" "" "$trib" --version
for command in run embed inspect tokenize; do
    expect "$command --help" 0 "Usage: trib $command MODEL*--help*" "" "$trib" $command --help
    expect "$command without a model" 2 "" "trib $command: expected MODEL*" "$trib" $command
    expect "$command: a missing file" 1 "" "trib: $scratch/none: No such file*" \
        "$trib" $command "$scratch/none"
    expect "$command: a directory" 1 "" "trib: $scratch: expected a model, found a folder without config.json" \
        "$trib" $command "$scratch"
    expect "$command: an empty file" 1 "" "trib: $scratch/empty: the file is empty" \
        "$trib" $command "$scratch/empty"
    expect "$command: a text file" 1 "" "trib: $scratch/text: not a GGUF file*found 'once'" \
        "$trib" $command "$scratch/text"
    expect "$command: an unknown option" 2 "" "trib $command: unrecognized option*--help*" \
        "$trib" $command --sing x
done
expect "manual page" 0 ".TH TRIB 1*repeat*penalty*" "" "$trib" manual
expect "completion" 0 "_trib*--temperature*--min-frequency*" "" "$trib" completion

# Standard output that nobody gets, of commands that print much, little, by and by, and JSON.
own=$(dirname "$0")/../../models/shakespeare.gguf
unwritten="trib: standard output cannot be written: No space left on device"
for words in --help --version "run --help" manual completion bench "inspect $own" "inspect $own --json" \
    "tokenize $own $scratch/text" "eval $own $scratch/text" "embed $own thought" "demo $own -n 1" \
    "cache list $scratch" "cache verify $scratch"; do
    expect "a full disk: $words" 1 "" "$unwritten" sh -c "'$trib' $words >/dev/full"
done
expect "a full disk: run" 1 "" "$unwritten" sh -c "'$trib' run '$own' -p A -n 9 >/dev/full"
expect "a full disk: run --n 2" 1 "" "prefill *$unwritten" \
    sh -c "'$trib' run '$own' -p A -n 9 --n 2 >/dev/full"
expect "a full disk: chat" 1 "" "$unwritten" sh -c \
    "echo A | '$trib' chat '$own' --template plain -n 9 >/dev/full"
expect "standard output that is closed" 1 "" "trib: standard output cannot be written: Bad file*" \
    sh -c "'$trib' inspect '$own' >&-"
expect "wrong usage prints nothing that could be lost" 2 "" "trib: unknown command 'sing'*" \
    sh -c "'$trib' sing >/dev/full"

learned=$scratch/learned.gguf
expect "tokenizer --help names its commands" 0 "Usage: trib tokenizer COMMAND*train*" "" \
    "$trib" tokenizer --help
expect "tokenizer without a command" 2 "" "trib tokenizer: expected COMMAND*" "$trib" tokenizer
expect "tokenizer with an unknown command" 2 "" "trib tokenizer: unknown command 'sing'*" \
    "$trib" tokenizer sing
expect "tokenizer train --help" 0 "Usage: trib tokenizer train TEXT...*--vocab*" "" \
    "$trib" tokenizer train --help
expect "tokenizer train without an output" 2 "" "trib tokenizer train: --output: expected *" \
    "$trib" tokenizer train "$scratch/text"
expect "tokenizer train: a missing text" 1 "" "trib: $scratch/none: No such file*" \
    "$trib" tokenizer train "$scratch/text" "$scratch/none" -o "$learned"
expect "tokenizer train: too few tokens" 1 "" "trib: a vocabulary of 9 tokens: expected at least 256*" \
    "$trib" tokenizer train "$scratch/text" -o "$learned" --vocab 9
expect "tokenizer train: an unknown way of cutting words" 1 "" 'trib: "sing" is no way of cutting*' \
    "$trib" tokenizer train "$scratch/text" -o "$learned" --pre sing
expect "tokenizer train: a place that is a folder" 1 "" "trib: $scratch: cannot be written: *" \
    "$trib" tokenizer train "$scratch/text" -o "$scratch"
cp "$scratch/text" "$scratch/kept"
expect "tokenizer train: the text as output" 1 "" \
    "trib: $scratch/kept: expected another file than the text" \
    "$trib" tokenizer train "$scratch/text" "$scratch/kept" -o "$scratch/kept"
expect "tokenizer train: the text behind standard input" 1 "" \
    "trib: $scratch/kept: expected another file than the text" \
    sh -c '"$0" tokenizer train - -o "$1" <"$1"' "$trib" "$scratch/kept"
check "which is as it was" cmp "$scratch/text" "$scratch/kept"
expect "tokenizer train" 0 "" "$learned: 261 tokens by 4 merges, from 10 words, 5 of them distinct" \
    "$trib" tokenizer train "$scratch/text" "$scratch/text" -o "$learned" --vocab 261 \
    --special "<|endoftext|>"
expect "tokenizer train --json" 0 '{"file":*"vocabulary":261,"merges":5,"words":5*}' "" \
    "$trib" tokenizer train "$scratch/text" -o "$learned.json" --vocab 261 --min-frequency 1 --json
expect "what was learned encodes and decodes" 0 "on a time, upon<|endoftext|>" "" sh -c \
    "printf 'on a time, upon<|endoftext|>' | '$trib' tokenize '$learned' --parse-special |
    '$trib' tokenize '$learned' --decode --parse-special"

expect "tokenize --decode --json" 0 '{"text":"Hi\\u0000"}' "" \
    sh -c "echo 72 105 0 | '$trib' tokenize '$own' --decode --json"
expect "tokenize --decode --json of ids that are none" 1 "" "trib tokenize: expected ids*'x'" \
    sh -c "echo 72 x | '$trib' tokenize '$own' --decode --json"
expect "ids behind a NUL byte are not left out" 1 "" "trib tokenize: expected ids*found a NUL byte" \
    sh -c "printf '72\\000 105' | '$trib' tokenize '$own' --decode"

made=$scratch/made.gguf
small=$scratch/small.gguf
expect "synth --help" 0 "Usage: trib synth SHAPE OUT*--seed*--layers*" "" "$trib" synth --help
expect "synth without an output" 2 "" "trib synth: expected SHAPE OUT*" "$trib" synth tiny
expect "synth of an unknown shape" 2 "" "trib synth: expected a SHAPE of tiny, *found 'huge'*" \
    "$trib" synth huge "$made"
expect "synth of an unknown type" 2 "" "trib synth: --type: *'q9'*" \
    "$trib" synth tiny "$made" --type q9
expect "synth of heads that do not divide" 1 "" "trib: KV heads: expected a divisor of 5, found 2" \
    "$trib" synth tiny "$made" -H 5
expect "synth into a folder" 1 "" "trib: $scratch: cannot be written: *" "$trib" synth tiny "$scratch"
expect "synth" 0 "" "" "$trib" synth tiny "$made" --type f16 --seed 7
expect "a synthetic model is described" 0 "*L=2 E=256 H=4 G=2 D=64 F=512 V=512*" "" \
    "$trib" inspect "$made"
expect "what it will take is said before it is loaded" 0 \
    "*memory * weights [1-9]*MiB, KV cache up to [1-9]*MiB ([1-9]* bytes a token), activations *" "" \
    "$trib" inspect "$made"
expect "a synthetic model runs" 0 "?*" "*logits ????????????????*" \
    "$trib" run "$made" -p "some words" -n 4
expect "too many threads are counted as given" 1 "" \
    "trib: threads: expected 1 to 1024, found 5000" "$trib" run "$made" --threads 5000
expect "the same seed makes the same file" 0 "" "" sh -c \
    "'$trib' synth tiny '$small' --type f16 --seed 7 --threads 1 && cmp '$made' '$small'"
expect "another seed makes another file" 1 "" "" sh -c \
    "'$trib' synth tiny '$small' --type f16 --seed 8 && cmp -s '$made' '$small'"

expect "quantize --help" 0 "Usage: trib quantize IN OUT*--type*q4_k_m*" "" "$trib" quantize --help
expect "quantize without an output" 2 "" "trib quantize: expected IN OUT*" "$trib" quantize "$made"
expect "quantize to an unknown type" 2 "" "trib quantize: --type: *'q9'*" \
    "$trib" quantize "$made" "$small" --type q9
expect "quantize: a missing file" 1 "" "trib: $scratch/none: No such file*" \
    "$trib" quantize "$scratch/none" "$small"
expect "quantize: a text file" 1 "" "trib: $scratch/text: not a GGUF file*" \
    "$trib" quantize "$scratch/text" "$small"
cp "$made" "$scratch/copy.gguf"
expect "quantize onto itself" 1 "" "trib: $scratch/copy.gguf: expected another file *" \
    "$trib" quantize "$scratch/copy.gguf" "$scratch/copy.gguf"
ln -s copy.gguf "$scratch/link.gguf"
expect "quantize onto itself by a link" 1 "" "trib: $scratch/link.gguf: expected another file *" \
    "$trib" quantize "$scratch/copy.gguf" "$scratch/link.gguf"
check "and the file is as it was" cmp "$made" "$scratch/copy.gguf"
expect "quantize" 0 "" "$small: 0.9 MB of tensors from 2.9, * bits per weight" \
    "$trib" quantize "$made" "$small" --type q4_k_m
expect "what was quantised runs" 0 "?*" "*logits*" "$trib" run "$small" -p "some words" -n 4
expect "quantize --json" 0 '{"file":*"type":"q6_k","tensors":21,"parameters":*"fallbacks":0*}' "" \
    "$trib" quantize "$made" "$small" --type q6_k --json
expect "quantize what was quantised" 0 "" "note: * of 21 tensors were quantised before*" \
    "$trib" quantize "$small" "$scratch/twice.gguf" --type q4_0
expect "quantize rows that no block suits" 0 "" "note: * of 21 tensors have rows that*" sh -c \
    "'$trib' synth tiny '$scratch/odd.gguf' --type f32 -F 100 &&
    '$trib' quantize '$scratch/odd.gguf' '$small' --type q4_k_m"
if grep -q '__tsan_init' "$trib"; then # which maps a file of its own, longer than the limit
    n=$((n + 1))
    echo "ok $n - quantize: a full disk # SKIP the sanitizer needs longer files"
else
    expect "quantize: a full disk" 1 "" \
        "trib: $scratch/full.gguf: cannot be written: File too large" sh -c \
        "trap '' XFSZ; ulimit -f 100; '$trib' quantize '$made' '$scratch/full.gguf'"
fi
check "and nothing is left" test ! -e "$scratch/full.gguf"

expect "bench lists what there is" 0 "attention *" "" "$trib" bench
expect "bench of what there is not" 2 "" "trib bench: there is no bench and no file 'x'*" "$trib" bench x
expect "bench: heads that do not divide" 2 "" "trib bench attention: --kv-heads: *'5 for 32'*" \
    "$trib" bench attention -G 5
expect "bench: a type that cannot have the D" 2 "" "*--head-dim: *multiple of 32*'40'*" \
    "$trib" bench attention -D 40 --kv q8_0
expect "bench: no keys" 2 "" "*--keys: expected 1 to*'0'*" "$trib" bench attention -S 0

# A bench as small and short as can be. What it measures is not looked at.
cat >"$scratch/bench" <<END
exec '$trib' bench attention -H 4 -G 2 -D 64 -S 200 -N 3 --seconds 0.001 --repeat 1 "\$@"
END
number='[0-9]*'
for row in prefill:200 decode:1 shared:3; do
    line="{\"case\":\"${row%:*}\",\"kv\":\"f16\",*\"D\":64,\"H\":4,\"G\":2,\"S\":200,"
    line="$line\"N\":${row#*:},\"threads\":2,\"ms\":$number,*\"gflops\":$number,\"gbps\":$number,"
    line="$line\"share\":$number,*\"table\":\"*\",\"hash\":\"*\"}"
    expect "bench ${row%:*} --json" 0 "$line" "*" \
        sh "$scratch/bench" --case "${row%:*}" --kv f16 --threads 2 --json
done
expect "bench merge --json" 0 "{\"case\":\"merge\",*\"share\":$number,*\"hash\":\"*\"}" "*" \
    sh "$scratch/bench" --case merge --json
expect "bench order --json" 0 \
    "{\"case\":\"order\",\"of\":\"decode\",*\"ms_any_order\":$number,\"cost\":*\"of\":\"prefill\"*" "*" \
    sh "$scratch/bench" --case order --kv bf16 --json
expect "bench order has no csv" 2 "" "trib bench attention: --csv: *order*" \
    sh "$scratch/bench" --case order --csv
expect "bench --peers" 0 "*\"table\":\"naive\"*" "*" \
    sh "$scratch/bench" --case decode --kv f32 --peers --json
check "whose results are ours" sh -c "! grep differs '$scratch/err'"
for threads in 1 2; do # case, type and hash of 13 rows and a heading
    sh "$scratch/bench" --threads $threads --csv 2>&1 | cut -d , -f 1-2,20 >"$scratch/hashes $threads"
done
expect "bench: every case and type" 0 "14" "" sh -c "wc -l <'$scratch/hashes 1'"
expect "bench: two threads give the hashes of one" 0 "" "" \
    diff "$scratch/hashes 1" "$scratch/hashes 2"

for layout in chunks heads rows pages; do # case, type, D and hash of 16 rows and a heading
    sh "$scratch/bench" -D 64,96 --case decode,shared --layout $layout --csv 2>&1 |
        cut -d , -f 1-2,4,20 >"$scratch/hashes $layout"
done
expect "bench: every layout" 0 "17" "" sh -c "wc -l <'$scratch/hashes rows'"
expect "bench: head by head gives the hashes of chunks" 0 "" "" \
    diff "$scratch/hashes chunks" "$scratch/hashes heads"
expect "bench: rows give the hashes of chunks" 0 "" "" \
    diff "$scratch/hashes chunks" "$scratch/hashes rows"
expect "bench: pages give the hashes of chunks" 0 "" "" \
    diff "$scratch/hashes chunks" "$scratch/hashes pages"
expect "bench: a layout that there is not" 2 "" "*--layout: expected *'piles'*" \
    "$trib" bench attention --layout piles

# The project's own model is in the repository, so nothing here is skipped. What is measured is not
# looked at here either.
cat >"$scratch/bench-model" <<END
exec '$trib' bench "\$@" --prompt 100 --rows 8 --depth 0,100 --tokens 4 --seconds 0.001 --repeat 1
END
for row in prefill:100:0 rows:8:0 decode:4:100; do
    size=${row#*:}
    line="*{\"model\":\"*\",\"case\":\"${row%%:*}\",\"type\":\"Q8_0\",\"tokens\":${size%:*},"
    line="$line\"depth\":${row##*:},\"kv\":\"q8_0\",\"threads\":2,\"tokens_per_s\":$number,"
    line="$line\"ms\":$number,*\"share\":$number,*\"table\":\"*\",\"hash\":\"*\"}"
    expect "bench of a model, ${row%%:*} --json" 0 "$line" "*" \
        sh "$scratch/bench-model" "$own" --case "${row%%:*}" --kv q8_0 --threads 2 --json
done
for threads in 1 2; do # case, tokens, depth, type of the cache and hash of 4 rows and a heading
    sh "$scratch/bench-model" model "$own" --threads $threads --csv 2>&1 | cut -d , -f 2,4-6,19 \
        >"$scratch/model hashes $threads"
done
expect "bench of a model: every case" 0 "5" "" sh -c "wc -l <'$scratch/model hashes 1'"
expect "bench of a model: two threads give the hashes of one" 0 "" "" \
    diff "$scratch/model hashes 1" "$scratch/model hashes 2"
expect "bench of a model: what the context has no room for" 0 "*decode*" \
    "trib: decode at depth 253: left out, * has a context of 256 tokens" \
    "$trib" bench "$own" --case decode --depth 0,253 --tokens 4
expect "bench shared: read once or once for each, the hashes are the same" 0 "2" "" \
    sh -c "'$trib' bench shared '$own' --case cascade,apart --prefix 128 -N 1,3 -n 2 --json |
        grep -o '\"hash\": *\"[^\"]*\"' | sort -u | wc -l"
expect "bench speculate: with guesses or without, the hashes are the same" 0 "1" "" \
    sh -c "'$trib' bench speculate '$own' --prompt 130 -n 40 --repeat 1 --json |
        grep -o '\"hash\": *\"[^\"]*\"' | sort -u | wc -l"
expect "bench speculate: 40 tokens of 11 steps" 0 '*"tokens_per_step":3.6363*"acceptance":0.763*' "" \
    "$trib" bench speculate "$own" --prompt 130 -n 40 --every 20 --repeat 1 --draft-tokens 4 --json
expect "bench speculate: beyond the context" 1 "" "trib: * has a context of 256 tokens: less than*" \
    "$trib" bench speculate "$own" --prompt 250 -n 40
expect "bench speculate: too many guesses" 2 "" "trib bench speculate: --draft-tokens: expected 0 to 64*" \
    "$trib" bench speculate "$own" --draft-tokens 65
line="{\"model\":\"*\",\"case\":\"restart\",\"N\":1,\"prefix\":128,*\"ms_per_step\":$number,*"
line="$line\"share\":$number,*\"prefill_ms\":$number,\"of_prefill\":$number,*\"hash\":\"*\"}"
mkdir "$scratch/temporary"
expect "bench shared: a restart" 0 "$line" "" sh -c \
    "TMPDIR='$scratch/temporary' '$trib' bench shared '$own' --case restart --prefix 128 --json"
check "and its folder is gone" rmdir "$scratch/temporary"
expect "bench shared: nowhere to restart from" 1 "" "trib: no folder can be made below *" \
    env TMPDIR="$scratch/temporary" "$trib" bench shared "$own" --case restart --prefix 128
"$trib" synth tiny "$scratch/mixed.gguf" --type q4_0 2>"$scratch/err"
expect "bench of a mixed model: the type of most bytes, not of the largest matrix" 0 \
    '*"case":"rows","type":"Q4_0"*' "" \
    "$trib" bench "$scratch/mixed.gguf" --case rows --rows 1 --repeat 1 --seconds 0.001 --json
expect "bench of a missing model" 1 "" "trib: $scratch/none: No such file*" "$trib" bench model "$scratch/none"
expect "bench of a model: a case that is none" 2 "" "trib bench model: --case: expected a list of*" \
    "$trib" bench "$own" --case sing

# What the model says differs between kernel tables once two tokens are about equally likely; that it
# is a play does not.
expect "the model speaks, and every cut of the context gives the same bits" 0 \
    "The prompt:*JULIET:*O Romeo*Continued by*64 *equal*The same bits every time: 56832 logits of 222*" "" \
    "$trib" demo "$own"
expect "seven ways, none of them different" 0 "7 0" "" sh -c \
    "'$trib' demo '$own' -p 'KING RICHARD' -n 20 -t 0 -s 1 |
    awk '/  equal\$/ { a++ } /DIFFERENT/ { b++ } END { print a + 0, b + 0 }'"
expect "one hash for all of them" 0 "1" "" sh -c \
    "'$trib' demo '$own' -n 20 | awk '/  equal\$/ { print \$4 }' | sort -u | grep -c ."
expect "demo ends where the context does" 0 "*logits of 256 tokens, 134 of them continued." "" \
    "$trib" demo "$own" -n 1000
for kind in transformer rnn; do # this script has all letters of the scene
    "$trib" train "$0" -o "$scratch/$kind.gguf" --model $kind --width 16 --layers 1 --batch 2 \
        --context 16 --steps 1 --warmup 0 --sample-every 0 >/dev/null 2>&1
done
expect "demo of a short context takes half of it for the scene" 0 \
    "The prompt:??ROMEO:?B??Continued by *logits of 16 tokens, 8 of them continued." "" \
    "$trib" demo "$scratch/transformer.gguf"
expect "or what it leaves" 0 "*logits of 16 tokens, 3 of them continued." "" \
    "$trib" demo "$scratch/transformer.gguf" -n 3
expect "but all of a prompt that was asked for" 1 "" "trib: 1* do not fit in the context of 16" \
    "$trib" demo "$scratch/transformer.gguf" -p "To be, or not to be"
expect "an endless context takes the whole scene" 0 "*O Romeo, Romeo! *of 125 tokens, 3 of them *" "" \
    "$trib" demo "$scratch/rnn.gguf" -n 3
expect "demo without a model" 2 "" "trib demo: expected MODEL*" "$trib" demo
expect "demo of a missing file" 1 "" "trib: $scratch/none: No such file*" "$trib" demo "$scratch/none"
expect "demo of no prompt" 1 "" "trib: the prompt has no tokens*" "$trib" demo "$own" -p ""
expect "the model continues a name" 0 "?*" "prefill 6 tokens*decode 200 tokens*" \
    "$trib" run "$own" -p "ROMEO:" -n 200
for guess in lookup "$own"; do
    for seed in 1 2; do
        cat >"$scratch/speculate" <<END
'$trib' run '$own' -p "ROMEO:" -n 150 --seed $seed --temperature 0.3 --repeat-penalty 1.1 "\$@" \
    2>"$scratch/statistics" && grep -o 'logits .*' "$scratch/statistics"
END
        sh "$scratch/speculate" >"$scratch/plain"
        sh "$scratch/speculate" --speculate "$guess" --draft-tokens 6 --draft-branches 2 >"$scratch/ahead"
        expect "run --speculate ${guess##*/}, seed $seed: the same text and logits" 0 "*logits*" "" \
            sh -c "cmp '$scratch/plain' '$scratch/ahead' && cat '$scratch/ahead'"
        expect "and guesses were right" 0 "*speculation: [1-9]* of *tokens a step*" "" \
            cat "$scratch/statistics"
    done
done
expect "run --speculate --json" 0 '*"speculation":{"steps":*"drafted":*"accepted":*}*' "*" \
    "$trib" run "$own" -p "ROMEO:" -n 20 --speculate lookup --json
expect "run --speculate: a missing file" 1 "" "trib: $scratch/none: No such file*" \
    "$trib" run "$own" -p "ROMEO:" --speculate "$scratch/none"
expect "run --speculate: another vocabulary" 1 "" "trib: the draft's vocabulary: expected *" \
    "$trib" run "$own" -p "ROMEO:" --speculate "$made"
expect "run --speculate: too many branches" 1 "" "trib: draft branches: expected 1 to 16, found 99" \
    "$trib" run "$own" -p "ROMEO:" --speculate lookup --draft-branches 99
# Sampling. What the model says is not looked at, but how it hangs together.
cat >"$scratch/say" <<END
exec '$trib' run '$own' -p ROMEO: "\$@"
END
said=$(sh "$scratch/say" -n 80 -t 0 2>"$scratch/err")
middle=$(echo "$said" | awk 'NR == 2 { print substr($0, 6, 4) }') # four tokens: this model's are bytes
for stop in e "$middle"; do
    expect "a stop string ends the text before it: '$stop'" 0 "${said%%"$stop"*}" "*" \
        sh "$scratch/say" -n 80 -t 0 --stop "$stop" --stop "no such text"
done
expect "of two stop strings the first" 0 "${said%%e*}" "*" \
    sh "$scratch/say" -n 80 -t 0 --stop "no such text" --stop e
expect "a stop string with an escape, and why the text ended" 0 \
    '*"ids":\[10\],"text":"","stop":"string"*' "*" \
    sh "$scratch/say" -n 80 -t 0 --stop '\n' --json
expect "an empty stop string" 2 "" "trib run: --stop: expected a text that is not empty*" \
    sh "$scratch/say" --stop ""
expect "a bias wins" 0 "AAAA" "*" sh "$scratch/say" -n 4 --logit-bias 65=1000
expect "of two biases the one that forbids" 0 "BBBB" "*" \
    sh "$scratch/say" -n 4 --logit-bias 65=1000 --logit-bias 66=500 --logit-bias 65=-inf
for wrong in x 65 65= =1 65=y -1=2; do
    expect "a bias that is none: $wrong" 2 "" "trib run: --logit-bias: expected ID=BIAS*" \
        sh "$scratch/say" "--logit-bias=$wrong"
done
expect "a bias of a token that is none" 1 "" "trib: logit bias: expected an id below 256, found 300" \
    sh "$scratch/say" --logit-bias 300=1

# facts FILE: what is told of every completion.
facts() {
    grep -ohE '"ids":\[[^]]*\]|"text":"([^"\\]|\\.)*"|"mean_logprob":[^,]*|"(seed|hash)":[^,}]*' "$1"
}
for seed in 5 6 7 8; do
    sh "$scratch/say" -n 70 -s $seed --json 2>"$scratch/err"
done >"$scratch/alone"
facts "$scratch/alone" >"$scratch/alone facts"
check "four seeds, four texts" sh -c "[ \$(sort -u '$scratch/alone facts' | wc -l) = 20 ]"
for threads in 1 2 3; do
    sh "$scratch/say" -n 70 -s 5 --n 4 --threads $threads --json >"$scratch/together" 2>"$scratch/err"
    facts "$scratch/together" >"$scratch/together facts"
    check "decoded together they are the same, $threads threads" \
        cmp "$scratch/alone facts" "$scratch/together facts"
done
sh "$scratch/say" -n 70 -s 5 --n 9 --json 2>"$scratch/err" | grep -o '"mean_logprob":[^,]*' |
    sort -t : -k 2 -gr | head -n 3 >"$scratch/best"
check "the best three of nine" sh -c "
    sh '$scratch/say' -n 70 -s 5 --n 3 --best-of 9 --json 2>/dev/null |
    grep -o '\"mean_logprob\":[^,]*' | cmp - '$scratch/best'"
expect "two prompts" 2 "" "trib run: --prompt-file: expected it without --prompt, found 'two'*" \
    sh "$scratch/say" -p one -f two
for wrong in 9223372036854775808 18446744073709551615 "9223372036854775807 --n 2"; do
    # shellcheck disable=SC2086  # words
    expect "a seed that JSON cannot tell of: $wrong" 2 "" \
        "trib run: --seed: expected less than 2^63, for all completions, found '*'" \
        sh "$scratch/say" -n 1 --json -s $wrong
done
expect "the largest one" 0 '*"seed":9223372036854775807,*' "*" \
    sh "$scratch/say" -n 1 --json -s 9223372036854775807
expect "a list has headings" 0 "== 1: seed 0, mean logprob -*, 9 tokens, length*== 2: seed 1, *" "*" \
    sh "$scratch/say" -n 9 --n 2
for wrong in "--n 0" "--n 2000" "--n 4 --best-of 3" "--n 3 --beams 2" "--beams 2 --best-of 2" \
    "--n 2 --speculate lookup" "--beams 2 --speculate lookup"; do
    # shellcheck disable=SC2086  # words
    expect "what does not go together: $wrong" 2 "" "trib run: --*: expected *" \
        sh "$scratch/say" $wrong
done

tab=$(printf '\t')
line="-[0-9.]*$tab[0-9]*$tab\"*\""
expect "a line for each token, with the two likeliest" 0 "$line$tab$line$tab$line
$line$tab$line$tab$line" "*" sh "$scratch/say" -n 2 -s 3 --logprobs 2
expect "at temperature 0 the likeliest is chosen" 0 "50 50" "" sh -c "
    sh '$scratch/say' -n 50 -t 0 --logprobs 1 2>/dev/null |
    awk -F '\t' '{ n++; same += \$1 == \$4 && \$2 == \$5 && \$3 == \$6 } END { print n, same }'"
expect "log probabilities in JSON" 0 \
    '*"logprobs":\[{"id":10,"text":"\\n","logprob":-*,"top":\[{"id":10,*\]},{*' "*" \
    sh "$scratch/say" -n 2 -t 0 --logprobs 2 --json
expect "of the chosen token alone" 0 '*"logprobs":\[{"id":10,"text":"\\n","logprob":-*,"top":\[\]}\]*' \
    "*" sh "$scratch/say" -n 1 -t 0 --logprobs 0 --json
expect "more of them than there are tokens" 1 "" "trib: log probabilities: expected at most 256*" \
    sh "$scratch/say" --logprobs 257

expect "one beam is the likeliest token each time" 0 "$said" "*" sh "$scratch/say" -n 80 --beams 1
for threads in 1 2 3; do
    sh "$scratch/say" -n 60 --beams 5 --n 5 --threads $threads --stop e --json 2>"$scratch/err" |
        grep -o '"completions":.*\]' >"$scratch/beams $threads"
done
check "beams, one thread and two" cmp "$scratch/beams 1" "$scratch/beams 2"
check "beams, one thread and three" cmp "$scratch/beams 1" "$scratch/beams 3"
check "five different ones, which the stop string ends" sh -c "
    [ \$(grep -oE '\"text\":\"([^\"\\\\]|\\\\.)*\",\"stop\":\"string\"' '$scratch/beams 1' | sort -u | wc -l) = 5 ]"
expect "one beam, and a bias that wins" 0 "AAAA" "*" sh "$scratch/say" -n 4 --beams 1 --logit-bias 65=1000
sh "$scratch/say" -n 60 --beams 5 --n 5 --logit-bias 101=-inf --json >"$scratch/no e" 2>"$scratch/err"
for beams in "beams 1" "no e"; do # e is token 101
    grep -o '"ids":\[[^]]*' "$scratch/$beams" | grep -cw 101
done >"$scratch/counts"
expect "five beams with e, and none where it is forbidden" 0 "5
0" "" cat "$scratch/counts"
sh "$scratch/say" -n 40 -t 0 --logprobs 3 >"$scratch/greedy" 2>"$scratch/err"
sh "$scratch/say" -n 40 --beams 1 --logprobs 3 >"$scratch/one beam" 2>"$scratch/err"
check "log probabilities of one beam are those of the likeliest tokens" \
    cmp "$scratch/greedy" "$scratch/one beam"
expect "log probabilities of beams in JSON" 0 \
    '*"score":-*"logprobs":\[{"id":10,"text":"\\n","logprob":-*,"top":\[{"id":10,*\]},{*' "*" \
    sh "$scratch/say" -n 2 --beams 1 --logprobs 2 --json
expect "beams print the best one" 0 "ROMEO:?*" "prefill 6 tokens*" \
    sh "$scratch/say" -n 20 --beams 3 --length-penalty 0.5 --echo

expect "the smallest length penalty has a score" 0 '*"score":-*' "*" \
    sh "$scratch/say" -n 20 --beams 3 --length-penalty -10 --json
expect "and a smaller one would have none" 1 "" "trib: length penalty: expected -10 to 10, found -1e+30" \
    sh "$scratch/say" -n 20 --beams 3 --length-penalty -1e30 --json

expect "its loss on lines it has not seen in training" 0 '*"loss":1.*' "" sh -c \
    "printf 'Good morrow, gentle sir; what news from the king?\n' >'$scratch/lines' &&
    '$trib' eval '$own' '$scratch/lines' --json"

expect "convert --help" 0 "Usage: trib convert *MODEL FILE*--type*" "" "$trib" convert --help
expect "convert without a file" 2 "" "trib convert: expected MODEL FILE*" "$trib" convert "$own"
expect "convert to a type that is none" 1 "" "trib: type: expected f32*found q1" \
    "$trib" convert "$own" "$scratch/out.gguf" --type q1
expect "convert a folder without weights" 1 "" "trib: *: expected a model, found a folder*" \
    "$trib" convert "$scratch" "$scratch/out.gguf"
expect "convert" 0 "" "" "$trib" convert "$own" "$scratch/out.gguf" --type q8_0
expect "what was written is of the type" 0 '*"type":"Q8_0"*' "" \
    "$trib" inspect "$scratch/out.gguf" --json
expect "what was written runs" 0 "?*" "prefill 6 tokens*" \
    "$trib" run "$scratch/out.gguf" -p "ROMEO:" -n 20

story=', there was a little girl named Lily. She loved to play*Lily'
expect_with_data "the golden story" 0 "$story" "prefill 5 tokens*decode 256 tokens*" \
    "$trib" run "$model" -p "Once upon a time" -n 256 --temperature 0
expect_with_data "the golden story, prompt first" 0 "Once upon a time$story" "*" \
    "$trib" run "$model" -p "Once upon a time" -n 256 --temperature 0 --echo
expect_with_data "run --json" 0 '{"prompt_ids":\[1,403,407,261,378\],"ids":\[432,383*"hash":*}' "*" \
    "$trib" run "$model" -p "Once upon a time" -n 2 --temperature 0 --json
expect_with_data "a full context ends the text" 0 "*" "*the context of 20 tokens is full" \
    "$trib" run "$model" -p "Once upon a time" -n 100 --temperature 0 --context 20
expect_with_data "a prompt too long for the context" 1 "" "trib: 5 more tokens*context of 4" \
    "$trib" run "$model" -p "Once upon a time" --context 4
expect_with_data "a value that is no number" 2 "" "trib run: --top-k: expected a whole number*'x'" \
    "$trib" run "$model" --top-k x
expect_with_data "a value outside its range" 1 "" "trib: top-p: expected*" \
    "$trib" run "$model" --top-p 2
expect_with_data "embed gives a vector of length 1 for each text" 0 "20.0000" "" sh -c \
    "'$trib' embed '$model' 'Once upon' 'a time' | awk '{ n = 0; for (i = 1; i <= NF; i++) n += \$i * \$i; s += n * NF }
    END { printf \"%.4f\", s * 10 / 64 }'"
expect_with_data "embed reads lines, and the mean is another vector" 0 "2 2" "" sh -c \
    "for how in mean last; do '$trib' embed '$model' --pooling \$how <'$scratch/two-lines'; done | sort -u | awk '{ n++ }
    END { printf \"%d %d\", n / 2, NR / 2 }'"
expect_with_data "embed --json" 0 '{"width":64,"vectors":\[{"tokens":*"vector":\[*' "" \
    "$trib" embed "$model" --json --no-normalize "Once upon"
expect_with_data "embed: an unknown pooling" 2 "" "trib embed: --pooling: expected mean, cls or last*'x'" \
    "$trib" embed "$model" --pooling x "Once upon"
expect_with_data "inspect" 0 "*architecture llama*L=5 E=64 H=8 G=4 D=8*token_embd.weight*" "" \
    "$trib" inspect "$model"
expect_with_data "inspect --json" 0 '{"file":*"layers":5*"kv_per_token":*}' "" \
    "$trib" inspect "$model" --json
expect_with_data "tokenize" 0 "1 403 407 261 378 *" "" \
    sh -c "printf 'Once upon a time ' | '$trib' tokenize '$model'"
expect_with_data "tokenize --no-special" 0 "403 407 261 378" "" \
    sh -c "printf 'Once upon a time' | '$trib' tokenize '$model' --no-special"
expect_with_data "tokenize --decode gives the text back" 0 "Once upon a time" "" \
    sh -c "echo 1 403 407 261 378 | '$trib' tokenize '$model' --decode"
expect_with_data "ids that are none" 1 "*" "trib tokenize: expected ids below 512*'x'" \
    sh -c "echo 1 x | '$trib' tokenize '$model' --decode"
echo "1..$n"
