#!/bin/sh
# Installs the Debian packages that Tributary needs and this machine lacks.
#
#   tools/packages.sh build          what `make demo` and `make install` need
#   tools/packages.sh build check    and what the tests, checks and fuzz targets need
#
# The one list of packages stands below. Nothing is remembered between calls: dpkg is asked each
# time, which takes hundredths of a second. With PACKAGES=present in the environment nothing is
# asked or installed, for systems that have the same things under other names.
set -eu

# group, package, what it is for
packages() {
    cat <<'LIST'
build gcc             the C compiler
build libc6-dev       headers of the C library
build make            the doors of the Makefile
build meson           the build system
build ninja-build     runs what Meson plans
build pkg-config      finds the libraries
build libedit-dev     lines edited and remembered in trib chat
build libjansson-dev  JSON
build libpcre2-dev    regular expressions of byte-level vocabularies
build libutf8proc-dev characters taken apart and lowercased, for WordPiece
build libxxhash-dev   hashes of content and checksums
check libcmocka-dev   unit tests
check clang           the second compiler, and headers compiled as C++
check libomp-dev      OpenMP of the second compiler
check libclang-rt-dev sanitizers and fuzzer of the second compiler
check llvm            function names in sanitizer reports
check clang-format    the format of the source
check cppcheck        static analysis
check git             lists the files of the tree
LIST
}

say() {
    printf 'packages: %s\n' "$*" >&2
}

root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    # An unattended upgrade may hold the lock of a machine that has just started.
    # shellcheck disable=SC2086  # a list of words
    root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing </dev/null >&2
}

apt_update() {
    say "updating the package lists"
    root apt-get update -q -o DPkg::Lock::Timeout=300 </dev/null >&2
}

[ "${PACKAGES:-}" != present ] || exit 0

for group in "$@"; do
    case $group in
    build | check) ;;
    *)
        say "no group of packages is called '$group': expected build or check"
        exit 2
        ;;
    esac
done
wanted=$(packages | awk -v groups=" $* " 'index(groups, " " $1 " ") { print $2 }')
[ -n "$wanted" ] || exit 0

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not Debian (no dpkg-query or apt-get), so nothing is installed." \
        "Install by hand what Debian calls:"
    # shellcheck disable=SC2086  # a list of words
    say $wanted
    say "and then say the same command again with PACKAGES=present"
    exit 1
fi

# shellcheck disable=SC2086  # a list of words
missing=$({
    dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null || true
    printf '%s\n' $wanted
} | awk '$2 == "installed" { have[$1] } NF == 1 && !($1 in have)')
[ -n "$missing" ] || exit 0
missing=$(printf '%s' "$missing" | tr '\n' ' ')
by_hand="apt-get install --no-install-recommends $missing"

say "missing here:"
packages | while read -r group package purpose; do
    case " $missing " in
    *" $package "*) printf '  %-16s %s\n' "$package" "$purpose" >&2 ;;
    esac
done

if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    say "installing them needs root, and there is no sudo here. Say as root:"
    say "$by_hand"
    exit 1
fi

updated=no
# shellcheck disable=SC2086  # a list of words
if ! apt-get -s -q install $missing >/dev/null 2>&1; then
    apt_update || true # what follows tells whether it was needed
    updated=yes
fi
say "installing: $by_hand"
if apt_install || { [ "$updated" = no ] && apt_update && apt_install; }; then
    exit 0
fi
say "the packages could not be installed; the reason stands above. By hand, as root:"
say "$by_hand"
exit 1
