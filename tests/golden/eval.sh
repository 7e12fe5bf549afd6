#!/bin/sh
# trib eval: perplexities that llama.cpp has for the same files and texts, and what is refused.
#
#   eval.sh TRIB     TRIB_DATA names the folder of test data, TRIB_GOLDEN that of goldens
#
# Equal means to four digits: what reaches a reader. Both compute in float32 with sums in another
# order, which shows in the seventh or eighth. The golden is of the weights as float32; of a file with
# quantised matrices it also says what rounding the other factor of products to 8 bits changes, and
# so much more is allowed there. Writes TAP.
set -u
trib=$1
here=$(dirname "$0")
data=${TRIB_DATA:-../shared/data}
golden=${TRIB_GOLDEN:-$here/data}
own=$here/../../models/shakespeare.gguf
# shellcheck source=tests/golden/expect.sh
. "$here/expect.sh"

# The model's perplexity and the number of scored tokens are the golden's.
equal() {
    head -c "$2" "$data/tinyshakespeare.txt" >"$scratch/text"
    "$trib" eval "$1" "$scratch/text" --method llama.cpp --context "$3" --stride "$4" --json |
        sed 's/.*"perplexity":\([^,]*\),.*"tokens":\([^,]*\),.*/\1 \2/' |
        awk -v count="$5" -v want="$6" -v rounding="$7" '{
            print "perplexity", $1, "of", $2, "tokens, expected", want, "of", count
            difference = $1 > want ? $1 - want : want - $1
            equal = $2 == count && difference < 0.5e-4 * want + rounding
        } END { exit !equal }'
}

while read -r name bytes context stride count want rounding; do
    case $name in
    '#'*) continue ;;
    stories260K.gguf) model=$data/stories260K/$name ;;
    *) model=$own ;;
    esac
    case="$name, $bytes bytes, context $context, stride $stride"
    if [ -r "$model" ] && [ -r "$data/tinyshakespeare.txt" ]; then
        check "$case" equal "$model" "$bytes" "$context" "$stride" "$count" "$want" "$rounding"
    else
        n=$((n + 1))
        echo "ok $n - $case # SKIP no test data in $data"
    fi
done <"$golden/perplexity.txt"

seq 1 200 >"$scratch/numbers" # 692 bytes, which are this model's tokens
expect "every token but the first is scored" 0 '{*"method":"every","tokens":691,"bytes":691,*' "" \
    "$trib" eval "$own" "$scratch/numbers" --json --context 100
expect "a stride scores each of them once, too" 0 '{*"tokens":691,*"context":100,"stride":30}' "" \
    "$trib" eval "$own" "$scratch/numbers" --json --context 100 --stride 30
expect "llama.cpp scores the second half of whole windows" 0 '{*"tokens":294,"bytes":294,*' "" \
    "$trib" eval "$own" "$scratch/numbers" --json --method llama.cpp --context 100
expect "llama.cpp with a stride scores the end of each" 0 '{*"tokens":600,"bytes":600,*' "" \
    "$trib" eval "$own" "$scratch/numbers" --json --method llama.cpp --context 100 --stride 30
expect "more context than the model was trained for" 1 "" "trib: context: expected at most 256*found 257" \
    "$trib" eval "$own" "$scratch/numbers" --context 257
head -c 401 "$scratch/numbers" >"$scratch/few"
expect "a text of less than two windows" 1 "" "trib: --method llama.cpp: expected *two contexts, found 250 and 401 tokens" \
    "$trib" eval "$own" "$scratch/few" --method llama.cpp --context 250
expect "a method that is none" 2 "" "trib eval: --method: expected every or llama.cpp, found 'x'" \
    "$trib" eval "$own" "$scratch/numbers" --method x
echo "1..$n"
