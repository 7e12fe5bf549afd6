#!/bin/sh
# Runs one cmocka program and mends its TAP; the exit status is the program's.
#
# cmocka 1.1.5 writes a skipped case as `not ok N # SKIP name`, which readers of TAP take for a
# failure. Here it becomes `ok N - name # SKIP reason`; the reason is what the test printed just
# before as `# skipped: reason`.
exec 4>&1
status=$({
    {
        CMOCKA_MESSAGE_OUTPUT=TAP "$@" 3>&- 4>&-
        echo $? >&3
    } | awk '
        /^# skipped: / { reason = substr($0, 12); next }
        /^not ok [0-9]+ # SKIP / {
            number = $3
            sub(/^not ok [0-9]+ # SKIP /, "")
            $0 = "ok " number " - " $0 " # SKIP " reason
        }
        { print; reason = "" }' >&4
} 3>&1)
exit "$status"
