#!/bin/sh
# Finds out which packages are missing, and installs them where apt-get is known; elsewhere it prints the list and stops.
# Usage: deps.sh list|install build|test. What a machine already has is tested by use, not by package name, so that a second
# call needs neither root nor network.
set -eu

missing=
need() { # package command...: the package is missing when the command fails
    package=$1; shift
    "$@" > /dev/null 2>&1 || missing="$missing $package"
}
has_header() { echo "#include <$1>" | cc -E -; }
has_command() { command -v "$1"; }
draws_png() { gnuplot -e 'set terminal pngcairo; set terminal svg'; }
links_c() { echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null; }
clang_has() { echo 'int main(void) { return 0; }' | clang -x c - "$1" -o /dev/null; }

build_needs() {
    need gcc gcc --version
    need libc6-dev links_c
    need git git --version
    need pkgconf pkg-config --version
    need libgsl-dev pkg-config --exists gsl
    need libcjson-dev pkg-config --exists libcjson
    need libsqlite3-dev pkg-config --exists sqlite3
    need libpcre2-dev pkg-config --exists libpcre2-8
    need libarchive-dev pkg-config --exists libarchive
    need zlib1g-dev pkg-config --exists zlib
    need libcurl4-openssl-dev pkg-config --exists libcurl
    need libssl-dev pkg-config --exists libcrypto
    need libdnnl-dev has_header dnnl.h
    need gnuplot-nox draws_png
    need python3-pip python3 -m pip --version
    need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
}

test_needs() {
    build_needs
    need libcmocka-dev has_header cmocka.h
    need clang clang --version
    need libclang-rt-dev clang_has -fsanitize=fuzzer-no-link,address
    need lld ld.lld --version
    need libomp-dev clang_has -fopenmp
    need llvm llvm-symbolizer --version
    need sqlite3 sqlite3 --version
    need zsh zsh --version
    need mandoc has_command mandoc
}

case "${1:-} ${2:-}" in
"list build" | "install build") build_needs ;;
"list test" | "install test") test_needs ;;
*) echo "usage: deps.sh list|install build|test" >&2; exit 2 ;;
esac

[ -n "$missing" ] || exit 0
if [ "$1" = list ]; then
    echo $missing
    exit 0
fi
root=
[ "$(id -u)" = 0 ] || root=sudo
if ! command -v apt-get > /dev/null || { [ -n "$root" ] && ! command -v sudo > /dev/null; }; then
    {
        echo "These are missing (Debian's names):"
        printf '  %s\n' $missing
        echo "Install them as this system does it, as root, and call make again."
    } >&2
    exit 1
fi
echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -q
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
