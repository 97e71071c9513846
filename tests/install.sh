#!/bin/sh
# What `make install` puts down works: a program of twenty lines compiles by pkg-config and runs, the installed program finds
# its files wherever the tree lies, and `make uninstall` leaves nothing.
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
dest=$work/dest
MAKEFLAGS='' check installs make --no-print-directory MODE=release install DESTDIR="$dest" PREFIX=/opt/kvant
prefix=$dest/opt/kvant

cat > "$work/user.c" << 'C'
#include <kvant.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    kvant_error err;
    kvant_codec codec;
    const kvant_quantizer *affine = kvant_find("affine", &err);
    kvant_args args = kvant_defaults(affine ? affine->params : NULL);
    const kvant_shape shape = { .dim = 64, .side = KVANT_VECTOR };
    if (!affine || kvant_set(affine->params, "bits", "8", &args, &err) || kvant_open(affine, &shape, &args, NULL, &codec, &err))
        return fprintf(stderr, "%s\n", err.text), 1;
    const size_t n = codec.plan.block;
    float *x = kvant_alloc(n * 64 * sizeof *x), *y = kvant_alloc(n * 64 * sizeof *y), worst = 0;
    uint8_t *code = kvant_alloc(kvant_bytes(&codec, n));
    void *scratch = kvant_alloc(codec.scratch);
    for (size_t i = 0; i < n * 64; i++)
        x[i] = (float)(i * 37 % 101) / 101 - .5f;
    kvant_encode(&codec, x, 0, n, code, scratch);
    kvant_decode(&codec, code, 0, n, y, scratch);
    for (size_t i = 0; i < n * 64; i++)
        worst = x[i] - y[i] > worst ? x[i] - y[i] : y[i] - x[i] > worst ? y[i] - x[i] : worst;
    printf("%s %.1f bits, error %g\n", kvant_version(), kvant_bits(&codec), worst);
    free(x), free(y), free(code), free(scratch);
    kvant_close(&codec);
    return !(worst > 0 && worst < .01f);
}
C
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
# shellcheck disable=SC2046
check compiles_against_it cc -std=c17 -Wall -Wextra -Werror -o "$work/user" "$work/user.c" $(pkg-config --cflags --static --libs kvant)
check the_program_runs "$work/user"
mv "$prefix" "$work/moved"
check moved_program_finds_its_files "$work/moved/bin/kvant" list
check manifest_is_there grep -q smollm2-135m "$work/moved/share/kvant/datasets/manifest.json"
check schema_is_there grep -q schema_version "$work/moved/share/kvant/harness/report/report.schema.json"
check licence_is_there grep -q MIT "$work/moved/share/doc/kvant/LICENSE"
check man_page_is_there grep -q '^.TH KVANT' "$work/moved/share/man/man1/kvant.1"
check completions_parse bash -n "$work/moved/share/bash-completion/completions/kvant"
man=$work/moved/share/man/man1/kvant.1
# A page has no date of its own, so that the same sources make the same page; lines as long as help's are no fault here.
lint() { mandoc -Tlint -Wwarning "$man" 2>&1 | grep -v 'missing date'; }
if ! command -v mandoc > /dev/null; then skipped man_page_is_clean "mandoc is missing"
elif [ -z "$(lint)" ] && [ "$(mandoc -Tascii "$man" | grep -c 'kvant compare')" -gt 0 ]; then ok man_page_is_clean
else failed man_page_is_clean "$(lint | head -n 5)"; fi
# The completions are asked as the shells ask them.
bash_words() { # word before the cursor, words of the line...
    bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kvant; printf "%s\n" "${COMPREPLY[@]}"' _ \
        "$work/moved/share/bash-completion/completions/kvant" "$@"
}
if bash_words kvant comp | grep -qx compare && bash_words kvant compare --thr | grep -qx -- '--threshold=' &&
    bash_words kvant run --qu | grep -qx -- --quick; then ok bash_completes
else failed bash_completes "$(bash_words kvant comp) $(bash_words kvant compare --thr)"; fi
if ! command -v zsh > /dev/null; then skipped zsh_completes "zsh is missing"
else
    folder=$work/moved/share/zsh/site-functions
    check zsh_parses zsh -n "$folder/_kvant"
    check zsh_completes_a_command zsh -f tests/complete.zsh "$folder" 'kvant compa' 'kvant compare'
    check zsh_completes_an_option zsh -f tests/complete.zsh "$folder" 'kvant compare --thr' 'kvant compare --threshold'
    check zsh_lists_options zsh -f tests/complete.zsh "$folder" 'kvant report --' 'only this metric'
fi
mv "$work/moved" "$prefix"
MAKEFLAGS='' check uninstalls make --no-print-directory MODE=release uninstall DESTDIR="$dest" PREFIX=/opt/kvant
left=$(find "$dest" ! -type d)
if [ -z "$left" ]; then ok nothing_is_left; else failed nothing_is_left "$left"; fi
finish
