#!/bin/sh
# Rule: a folder of src/ includes only itself and the folders above it, in this order:
order='base file text kernel attention cache model train engine cluster'
# include/ includes only public headers; app/ public headers and its own files; examples/ only public
# headers. System headers are free; tests/ and bench/ may include everything.
. tests/check/report.sh

headers=$(c_files '*.h' include src app examples)
sources=$(c_files '*.[ch]' include src app examples)

# Every #include that the rule forbids, as `FOLDER FILE:LINE: what is wrong`.
complaints=$(
    # shellcheck disable=SC2086  # a list of words
    awk -v order="$order" -v headers="$headers" '
    BEGIN {
        count = split(order, names, " ")
        for (i = 1; i <= count; i++)
            rank[names[i]] = i
        count = split(headers, names, "\n")
        for (i = 1; i <= count; i++)
            exists[names[i]]
    }

    # The folder a file belongs to: include, app, examples or one of src/.
    function folder_of(path, part)
    {
        split(path, part, "/")
        return part[1] == "src" ? part[2] : part[1]
    }

    # Where an include leads: beside the file, in the source or in the public folder; "": to the system.
    function target_of(path, name, beside)
    {
        beside = path
        sub(/[^\/]*$/, "", beside)
        if ((beside name) in exists) return beside name
        if (("src/" name) in exists) return "src/" name
        if (("include/" name) in exists) return "include/" name
        return ""
    }

    function complain(what)
    {
        print folder " " FILENAME ":" FNR ": " what
    }

    FNR == 1 {
        folder = folder_of(FILENAME)
        if (FILENAME ~ /^src\// && !(folder in rank))
            complain("src/" folder " is not in the order of folders")
    }

    /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
        quoted = $0 ~ /^[^<]*"/
        name = $0
        sub(/^[^<"]*[<"]/, "", name)
        sub(/[>"].*$/, "", name)
        target = target_of(FILENAME, name)
        if (target == "") {
            if (quoted)
                complain("no header " name " beside the file, in src/ or in include/")
            next
        }
        to = folder_of(target)
        if (to == "include" || (to == folder && folder != "examples"))
            next
        if (!(folder in rank))
            complain(folder " may not include " name)
        else if (!(to in rank) || rank[to] > rank[folder])
            complain(folder " may not include " name ": " to " is below it")
    }' $sources </dev/null
)

for folder in include $order app examples; do
    case $folder in
    include | app | examples) path=$folder ;;
    *) path=src/$folder ;;
    esac
    [ -d "$path" ] || continue
    verdict "$path" "$(printf '%s\n' "$complaints" | sed -n "s|^$folder ||p")"
done
verdict "every folder of src has a place in the order" \
    "$(printf '%s\n' "$complaints" | sed -n '/is not in the order/s/^[^ ]* //p')"
finish
