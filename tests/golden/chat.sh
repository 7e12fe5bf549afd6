#!/bin/sh
# trib chat: through a pipe, and on a terminal.
#
#   chat.sh TRIB PTY     PTY: the program of pty.c
#
# The project's own model was never talked with, so --template plain and what it says does not count;
# that a conversation is kept, ended and loaded does. Writes TAP.
set -u
trib=$1
pty=$2
here=$(dirname "$0")
own=$here/../../models/shakespeare.gguf
# shellcheck source=tests/golden/expect.sh
. "$here/expect.sh"
export XDG_STATE_HOME="$scratch/state" TERM=vt100 LC_ALL=C.UTF-8

# talk LINES [OPTION...]: what is said, with printf's escapes, and what the model answers.
cat >"$scratch/talk" <<END
said=\$1
shift
printf "\$said" | '$trib' chat '$own' --template plain --temperature 0 -n 16 "\$@"
END
# play FILE: a person on a terminal, who does what the file says.
cat >"$scratch/play" <<END
file=\$1
shift
'$pty' '$trib' chat --template plain --temperature 0 "\$@" <"\$file"
END

expect "chat --help" 0 "Usage: trib chat MODEL*--template*--system*" "" "$trib" chat --help
expect "chat without a model" 2 "" "trib chat: expected MODEL*" "$trib" chat
expect "a file without a template" 1 "" "*has no tokenizer.chat_template*--template*" "$trib" chat "$own"
expect "a template that is none" 1 "" "*chat template 'x': expected one of chatml, llama2*plain*" \
    "$trib" chat "$own" --template x
expect "nothing said, nothing answered" 0 "" "" sh "$scratch/talk" "\n  \n"
expect "an answer" 0 "?*" "" sh "$scratch/talk" "Good morrow.\n"
said=$(sh "$scratch/talk" "Good morrow.\n" 2>/dev/null)
expect "a stop string ends an answer before it" 0 "${said%%e*}" "" \
    sh "$scratch/talk" "Good morrow.\n" --stop "no such text" --stop e
expect "a bias of a token" 0 "AAAAAAAAAAAAAAAA" "" \
    sh "$scratch/talk" "Good morrow.\n" --logit-bias 65=1000
expect "a turn and a conversation in a file" 0 "?*" "" sh "$scratch/talk" \
    "Who are you?\n/save $scratch/one.json\nAnd I?\n/save $scratch/two.json\n"
expect "what the file says" 0 '*"user"*"Who are you?"*"assistant"*"user"*"And I?"*"assistant"*' "" \
    cat "$scratch/two.json"
expect "a conversation that is loaded goes on as it did" 0 "" "" sh -c "
    sh '$scratch/talk' '/load $scratch/one.json\nAnd I?\n/save $scratch/again.json\n' >/dev/null &&
    cmp '$scratch/two.json' '$scratch/again.json'"
for guess in lookup "$own"; do # turns go on from where guesses were taken back
    for way in "" "--speculate $guess"; do
        # shellcheck disable=SC2086
        sh "$scratch/talk" "Who are you?\nAnd I?\nGo on.\n" -n 30 --temperature 0.4 --seed 3 $way
    done >"$scratch/both" 2>/dev/null
    expect "a conversation with --speculate ${guess##*/} is the same" 0 "" "" sh -c "
        n=\$(wc -l <'$scratch/both') && head -n \$((n / 2)) '$scratch/both' >'$scratch/half' &&
        tail -n \$((n / 2)) '$scratch/both' | cmp - '$scratch/half'"
done
expect "/reset forgets" 0 "" "" sh -c "
    sh '$scratch/talk' 'Say on.\n/reset\nWho are you?\n/save $scratch/reset.json\n' >/dev/null &&
    cmp '$scratch/one.json' '$scratch/reset.json'"
for way in "--repeat-penalty 1.5" "--temperature 1"; do
    # shellcheck disable=SC2086
    sh "$scratch/talk" "Say on.\n/reset\nSay on.\n" $way >"$scratch/both" 2>/dev/null
    expect "what is said behind it is as at first: $way" 0 "" "" sh -c "
        n=\$(wc -l <'$scratch/both') && head -n \$((n / 2)) '$scratch/both' >'$scratch/half' &&
        tail -n \$((n / 2)) '$scratch/both' | cmp - '$scratch/half'"
done
expect "two slashes are one, and plain text" 0 '*"/save, <s>"*' "" sh -c "
    sh '$scratch/talk' '//save, <s>\n/save $scratch/text.json\n' >/dev/null && cat '$scratch/text.json'"
expect "the system is in the file" 0 '*"system"*"Be brief."*"user"*' "" sh -c "
    sh '$scratch/talk' 'Go.\n/save $scratch/system.json\n' --system 'Be brief.' >/dev/null &&
    cat '$scratch/system.json'"
full="trib: * more tokens do not fit in the context of 60: /reset begins anew"
expect "a question that does not fit" 1 "" "trib: * more tokens do not fit in the context of 1: *" \
    sh "$scratch/talk" "hi\n" --context 1
expect "a question that does not fit is said to be so, and /reset helps" 1 "?*" "$full" \
    sh "$scratch/talk" "$(printf '%070d' 1)\n/reset\nGo.\n" --context 60
expect "an answer ends where the context does" 0 "?*" "the context of 40 tokens is full*" \
    sh "$scratch/talk" "Go on.\n" --context 40 -n 100
expect "and nothing is answered behind it" 1 "?*" "the context of 40 *trib: * do not fit in *40*" \
    sh "$scratch/talk" "Go on.\nGo on.\n" --context 40 -n 100
expect "a command that is none" 1 "" "trib: there is no /sing; /help lists*" sh "$scratch/talk" "/sing\n"
expect "/save without a name" 1 "" "trib: /save: expected the name of a file" sh "$scratch/talk" "/save\n"
expect "/load of a missing file" 1 "" "trib: $scratch/none: No such file*" \
    sh "$scratch/talk" "/load $scratch/none\n"
echo old >"$scratch/real.json" && chmod 600 "$scratch/real.json"
ln -s real.json "$scratch/link.json" && mkfifo "$scratch/pipe" && echo mine >"$scratch/link.json.part"
expect "/save follows a link and keeps the permissions" 0 "lrwx*-rw-------*Go.*" "" sh -c "
    sh '$scratch/talk' 'Go.\n/save $scratch/link.json\n' >/dev/null &&
    ls -l '$scratch/link.json' '$scratch/real.json' && cat '$scratch/real.json'"
check "and no other file changes" sh -c 'cd "$1" && [ "$(cat ./*.part)" = mine ]' sh "$scratch"
expect "/save to what is no regular file" 1 "?*" \
    "trib: $scratch/pipe: cannot be written: it is there already and no regular file" \
    sh "$scratch/talk" "Go.\n/save $scratch/pipe\n"
for wrong in 'x' '{"messages":3}' '[{"role":"god","content":"a"}]' '[{"role":"user"}]' \
    '[{"role":"assistant","content":"a"}]' '[]'; do
    echo "$wrong" >"$scratch/wrong"
    expect "/load of $wrong" 1 "" "trib: *expected*" sh "$scratch/talk" "/load $scratch/wrong\n"
done
printf '[{"role":"user","content":"%0300d"}]' 1 >"$scratch/long"
expect "/load of what does not fit is refused" 1 "?*" \
    "trib: $scratch/long: a conversation of * tokens does not fit in the context of 256" \
    sh "$scratch/talk" "Who are you?\n/load $scratch/long\nAnd I?\n/save $scratch/kept.json\n"
check "and the conversation before goes on" cmp "$scratch/two.json" "$scratch/kept.json"
expect "/help goes to standard error" 0 "" "*/load*/quit*" sh "$scratch/talk" "/help\n"
expect "nothing is read behind /quit" 0 "" "" sh "$scratch/talk" "/quit\n/sing\n"

printf '%s\n' 'wait lists commands' prompt 'enter first words' prompt "type $(printf '\004')" >"$scratch/first"
expect "a person talks, and ends with Ctrl-D" 0 "*template plain, context of 256*first words*> *" "" \
    sh "$scratch/play" "$scratch/first" "$own" -n 8
expect "the history is the person's own" 0 "-rw-------*" "" \
    sh -c "ls -l '$scratch/state/tributary/history'"
printf '%s\n' prompt "enter $(printf '\033[A')" 'wait first words' prompt \
    "enter /save $scratch/history.json" prompt 'enter /quit' >"$scratch/second"
expect "the arrow up brings back the line of yesterday" 0 '*"first words"*' "" sh -c "
    sh '$scratch/play' '$scratch/second' '$own' -n 8 >/dev/null && cat '$scratch/history.json'"
printf '%s\n' prompt "type $(printf 'never said\003')" 'wait Ctrl-C again' prompt \
    "type $(printf '\003')" >"$scratch/third"
expect "Ctrl-C twice ends" 0 "*Ctrl-C again or Ctrl-D ends*" "" \
    sh "$scratch/play" "$scratch/third" "$own"

# A recurrent network has no end to its context: only Ctrl-C ends its answer, also where the terminal
# takes no more of it for a while.
seq 1 2000 >"$scratch/numbers"
"$trib" train "$scratch/numbers" -o "$scratch/rnn.gguf" --model rnn --width 16 --layers 1 --batch 2 \
    --context 16 --steps 1 --warmup 0 --sample-every 0 >/dev/null 2>&1
printf '%s\n' prompt 'enter Go.' 'wait Go.' 'wait 1' pause "type $(printf '\003')" prompt \
    "enter /save $scratch/stopped.json" prompt "type $(printf '\004')" >"$scratch/fourth"
expect "Ctrl-C ends the answer, not the program" 0 '*"Go."*"assistant"*' "" sh -c "
    sh '$scratch/play' '$scratch/fourth' '$scratch/rnn.gguf' --temperature 1 -n 1000000000 >/dev/null &&
    cat '$scratch/stopped.json'"
echo "1..$n"
