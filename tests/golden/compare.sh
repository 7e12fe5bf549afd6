#!/bin/sh
# The comparison of all predictors from the command line, small and quick, on a text that the script
# makes up.
#
#   compare.sh TRIB
#
# Writes TAP. Each case is one call of `expect`, or of `check` for what no pattern can say.
# shellcheck disable=SC2086 # $brief is words
set -u
case $1 in
/*) trib=$1 ;;
*) trib=$PWD/$1 ;; # the cases run in another folder
esac
# shellcheck source=tests/golden/expect.sh
. "$(dirname "$0")/expect.sh"

awk 'BEGIN { for (i = 0; i < 600; i++) printf "the %d cats saw %d dogs\n", i % 7, i * 17 % 23 }' \
    >"$scratch/text"
cd "$scratch" || exit 1
mkdir temporary
TMPDIR=$scratch/temporary
export TMPDIR
: >empty

expect "compare without a text" 2 "" "trib compare: expected TEXT*" "$trib" compare
expect "compare --help" 0 "Usage: trib compare TEXT*--parameters*--time*--html*" "" \
    "$trib" compare --help
expect "steps and time" 2 "" "trib compare: --time: expected it without --steps*" \
    "$trib" compare text --steps 3 --time 1
expect "more pairs than letters" 2 "" "trib compare: --recall-pairs: expected 1 to 26*" \
    "$trib" compare text --recall-pairs 27
expect "no pairs" 2 "" "trib compare: --recall-pairs: expected 1 to 26*" \
    "$trib" compare text --recall-pairs 0
for count in parameters steps context batch recall-steps; do
    expect "no $count" 2 "" "trib compare: --$count: expected 1 or more, found '0'" \
        "$trib" compare text --$count 0
done
expect "parameters that a predictor cannot have" 1 "" \
    "trib: parameters: expected *within 10 percent of, found 3000; the nearest of transformer * is 5*" \
    "$trib" compare text --parameters 3000
expect "parameters that no predictor can have" 1 "" "trib: parameters: *found 10; the nearest of direct is 1797" \
    "$trib" compare text --parameters 10
expect "a missing text" 1 "" "trib: none: No such file*" "$trib" compare none
expect "an empty text" 1 "" "trib: empty: the file is empty" "$trib" compare empty
expect "a text that is too short" 1 "" "trib: the part of the text for *" \
    "$trib" compare text --quick --context 4000

expect "a quick comparison" 0 "equal data, 20 steps of 128 tokens each*
direct *
rnn elman *
rnn gru *
rnn lstm *
rnn lstm + attention *
transformer lecture *
transformer modern *
recall at distance *
rnn lstm *
rnn lstm + attention *
transformer modern *" "" "$trib" compare text --quick --threads 2 --html page.html
check "its page is one" sh -c 'head -n 1 page.html | grep -qx "<!DOCTYPE html>" &&
    tail -n 1 page.html | grep -qx "</body></html>"'
check "with four plots" sh -c '[ "$(grep -c "<svg" page.html)" = 4 ]'
check "that loads nothing" sh -c '! grep -iE "http|src=|href=|url\(|@import" page.html'
check "it leaves nothing behind" rmdir temporary
mkdir temporary

# What does not depend on the clock.
steady() {
    grep -oE '"(name|loss|bits_per_byte|accuracy|parameters|tokens|distance)":[^,}]*' "$1"
}
"$trib" compare text --quick --json --threads 1 >one.json 2>one.err
"$trib" compare text --quick --json --threads 2 >two.json 2>two.err
"$trib" compare text --quick --json --threads 2 --seed 2 >three.json 2>three.err
steady one.json >one
steady two.json >two
steady three.json >three
check "JSON is one line" sh -c 'cat one.json one.err; [ "$(wc -l <one.json)" = 1 ]'
check "with all rows" sh -c '[ "$(grep -c "\"name\":" one)" = 10 ] &&
    [ "$(grep -c "\"loss\":[0-9]" one)" = 7 ]'
check "with curves and costs" sh -c 'grep -oE "\"(curve|cost|by_distance)\":\[\{" one.json |
    sort | uniq -c | tr -s " \n" " " | grep -q " 3 .by_dist.* 7 .cost.* 7 .curve"'
check "of equal parameters, within five percent" sh -c 'grep "\"parameters\"" one |
    awk -F: "{ if (\$2 < 19000 || \$2 > 21000) bad = 1; print } END { exit bad }"'
check "equal seeds give equal losses for any number of threads" cmp one two
check "another seed gives others" sh -c '! cmp -s one three'

expect "equal time and every other option" 0 "equal time, 0.02 s each*" "" \
    "$trib" compare text --quick --time 0.02 --parameters 5000 --context 16 --batch 2 --lr 0.01 \
    --vocab chars --recall-steps 3 --recall-pairs 2
brief="$trib compare --quick --parameters 8000 --steps 2 --recall-steps 2"
expect "a page that cannot be written" 1 "" "trib: no/where.html: cannot be written: No such file*" \
    $brief text --html no/where.html

cp text kept
expect "the text as page" 1 "" "trib: kept: expected another file than the text" \
    $brief kept --html kept
check "which is as it was" cmp text kept

# The place of the page goes as soon as the comparison has begun, which its folder shows.
page_fails() {
    mkdir there
    $brief text --html there/page.html >late.out 2>late.err &
    pid=$!
    tries=0
    while [ "$tries" -lt 3000 ] && kill -0 $pid 2>/dev/null && [ -z "$(ls temporary)" ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    rmdir there
    wait $pid
    [ $? = 1 ] && cat late.err
}
check "a page that fails at last" page_fails
check "is said" grep -q "^trib: there/page.html: cannot be written: " late.err
check "and takes no report with it" grep -q "^recall at distance " late.out
echo "1..$n"
