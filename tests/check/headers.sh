#!/bin/sh
# Rule: every header compiles when it is the only one included: the public ones as C11 and as C++17,
# the internal ones as C11, without a warning. The compiler is $CC or cc.
. tests/check/report.sh

compiler=${CC:-$(first_command cc gcc clang)}
cxx=$(first_command clang++ g++)
warnings='-Wall -Wextra -Wpedantic -Werror'
defines='-D_DEFAULT_SOURCE -D_POSIX_C_SOURCE=200809L'

# compile HEADER COMMAND...: what the compiler says of a file that includes just HEADER. A header may
# be of macros alone, which ISO C does not let be all of a file.
compile() {
    header=$1
    shift
    # shellcheck disable=SC2086  # lists of words
    printf '#include "%s"\nextern int not_empty;\n' "$header" | "$@" -fsyntax-only $warnings $defines - 2>&1
}

for path in $(c_files '*.h' include); do
    header=${path#include/}
    # shellcheck disable=SC2086  # the compiler may be more than one word
    verdict "$header as C11" "$(compile "$header" $compiler -x c -std=c11 -Iinclude)"
    if [ -n "$cxx" ]; then
        verdict "$header as C++17" "$(compile "$header" "$cxx" -x c++ -std=c++17 -Iinclude)"
    else
        skipped "$header as C++17" "no clang++ and no g++"
    fi
done
for path in $(c_files '*.h' src); do
    header=${path#src/}
    flags=
    case $header in
    kernel/simd/* | kernel/avx512/*) # made for instruction sets: the smallest that will do
        case $header in
        kernel/simd/*) flags='-mavx2 -mfma -mf16c -DTRIB_SIMD=avx2' ;;
        *) flags='-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c' ;;
        esac
        if [ "$(uname -m)" != x86_64 ]; then
            skipped "$header as C11" "not an x86-64 machine"
            continue
        fi
        ;;
    esac
    # shellcheck disable=SC2086
    verdict "$header as C11" "$(compile "$header" $compiler -x c -std=c11 $flags -Iinclude -Isrc)"
done
finish
