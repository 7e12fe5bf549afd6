# Counts the cases in Meson's testlog.json, one program a line; names the skipped and the failed, with
# what the program said of them.
#
# Meson's own summary counts programs, and takes one that printed no case for a skipped one; its JUnit
# file knows neither crashes nor timeouts. So the cases are read from each program's TAP, and a
# program adds one failure when it ended badly without naming a failed case, or named no case at all.
# `status` is the exit status of `meson test`: when it is not 0, something failed.

function string_field(line, name)
{
    # The quotes of a key stand unescaped nowhere but in a key.
    if (!match(line, "\"" name "\": \"([^\"\\\\]|\\\\.)*\""))
        return ""
    return substr(line, RSTART + length(name) + 5, RLENGTH - length(name) - 6)
}

function fail(what)
{
    failed++
    print "failed: " what
}

{
    program = string_field($0, "name")
    result = string_field($0, "result")
    text = string_field($0, "stdout")
    gsub(/\\\\/, "/", text) # so that only an escaped newline is a backslash and an n
    gsub(/\\"/, "\"", text)
    cases = bad = explains = 0
    count = split(text, lines, /\\n/)
    for (i = 1; i <= count; i++) {
        if (lines[i] !~ /^(not )?ok( |$)/) {
            if (explains)
                print "    " lines[i]
            continue
        }
        explains = lines[i] ~ /^not/
        cases++
        if (explains) {
            bad++
            fail(program ": " lines[i])
        } else if (lines[i] ~ /# [Ss][Kk][Ii][Pp]/) {
            skipped++
            print "skipped: " program ": " lines[i]
        } else {
            passed++
        }
    }
    if (cases == 0)
        fail(program ": it named no case (" result ")")
    else if (bad == 0 && result != "OK" && result != "SKIP")
        fail(program ": it ended badly (" result ")")
}

END {
    if (failed == 0 && status != 0)
        fail("meson test: exit status " status)
    if (failed == 0 && passed == 0)
        fail("no case passed")
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0
}
