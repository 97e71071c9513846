/* test_fetch.c - fetching from URLs and packages: whole and verified or not at all, after every kind of break.
 * URLs are file:, and pip and apt-get are scripts that behave as the real ones do, or badly. */
#include "tests/prose.h"

#include "harness/input/fetch.h"
#include "harness/process.h"

#include <signal.h>
#include <sys/prctl.h>

static void by_url(void **state)
{
    house *h = *state;
    kvant_input input;
    char *source = house_file(h, "web/prose.txt", prose, BYTES);
    house_manifest(h, prose, BYTES, "{ \"url\": \"file://@/web/prose.txt\" }", h->folder);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    assert_non_null(strstr(h->said.data, "prose: 300 kB, licence: MIT\n"));
    assert_ok(input_find("prose", &input, err));
    /* Once it is here, its source is not needed. */
    unlink(source);
    assert_ok(house_fetch(h, "prose", err));
    assert_string_equal(h->said.data, "");
    assert_fails(house_fetch(h, "porse", err), KVANT_INVALID, "did you mean 'prose'");
    free(source);
}

static void a_broken_download_goes_on(void **state)
{
    house *h = *state;
    /* The first half at the source is spoilt: only a fetch that goes on behind the half that is here comes out right. */
    char *half = calloc(1, BYTES);
    assert_non_null(half);
    memcpy(half + BYTES / 2, prose + BYTES / 2, BYTES / 2);
    free(house_file(h, "web/prose.txt", half, BYTES));
    house_manifest(h, prose, BYTES, "{ \"url\": \"file://@/web/prose.txt\" }", h->folder);
    free(left_over(h, prose, BYTES / 2));
    assert_ok(house_fetch(h, "prose", err));
    assert_null(strstr(h->said.data, "anew"));
    expect_clean(h, true);
    free(half);
}

static void leftovers_that_do_not_fit(void **state)
{
    house *h = *state;
    static const size_t sizes[] = { 1, BYTES / 2, BYTES - 1, BYTES, BYTES + 1, 2 * BYTES };
    char *zeros = calloc(2, BYTES), *cached = in_folder(h->cache, "inputs/prose/prose.txt");
    assert_non_null(zeros);
    free(house_file(h, "web/prose.txt", prose, BYTES));
    house_manifest(h, prose, BYTES, "{ \"url\": \"file://@/web/prose.txt\" }", h->folder);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        free(left_over(h, zeros, sizes[i]));
        assert_ok(house_fetch(h, "prose", err));
        assert_non_null(strstr(h->said.data, "beginning anew"));
        expect_clean(h, true);
        unlink(cached);
    }
    /* All of it came, and then the line broke: nothing is left to do but to look at it. */
    free(left_over(h, prose, BYTES));
    free(house_file(h, "web/prose.txt", "", 0));
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);

    /* A damaged file in the cache is replaced. */
    free(house_file(h, "web/prose.txt", prose, BYTES));
    write_bytes(cached, zeros, BYTES);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    /* And what a killed process left beside it is cleared away. */
    unlink(cached);
    free(house_file(h, "cache/inputs/prose/prose.txt.123-4.new", zeros, 10));
    free(house_file(h, "cache/inputs/prose/scratch/package/x.whl", zeros, 10));
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    free(cached);
    free(zeros);
}

static void sources_that_are_wrong(void **state)
{
    house *h = *state;
    house_manifest(h, prose, BYTES, "{ \"url\": \"file://@/web/prose.txt\" }", h->folder);
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "web/prose.txt");
    char *other = malloc(BYTES + 1);
    assert_non_null(other);
    memset(other, 'x', BYTES + 1);
    free(house_file(h, "web/prose.txt", other, BYTES));
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "its sha256 is");
    free(house_file(h, "web/prose.txt", other, BYTES + 1));
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "more than the 300000 bytes");
    free(house_file(h, "web/prose.txt", prose, BYTES - 1));
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "299999 bytes, and the manifest says 300000");
    expect_clean(h, false);
    free(other);

    /* The next source is tried, and what went wrong with the first one is said. */
    free(house_file(h, "mirror/prose.txt", prose, BYTES));
    house_manifest(h, prose, BYTES, "{ \"url\": \"file://@/web/prose.txt\" }, { \"url\": \"file://@/mirror/prose.txt\" }", h->folder);
    assert_ok(house_fetch(h, "prose", err));
    assert_non_null(strstr(h->said.data, "299999 bytes, and the manifest says 300000; trying the next source"));
    expect_clean(h, true);

    house_manifest(h, "x", 1, "{ \"file\": \"prose.txt\" }", "");
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "prose: cannot be fetched; put prose.txt (1 B, MIT)");
    /* A cache that cannot be made. */
    char *file = house_file(h, "file", "", 0);
    input_settings(h->data, file, h->manifest);
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "file: not a folder");
    input_settings(h->data, NULL, h->manifest);
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "no cache folder");
    free(file);
}

/* A manifest whose URL is an archive of these bytes, with the member as named. */
static void archive_manifest(const house *h, const char *archive, const char *member)
{
    char *path = in_folder(h->folder, archive), hex[SHA256_HEX];
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    assert_ok(sha256_file(path, hex, err));
    char *sources = text_format("{ \"url\": \"file://%s\", \"member\": \"%s\", \"bytes\": %lld, \"sha256\": \"%s\" }", path, member,
                                (long long)there.st_size, hex);
    house_manifest(h, prose, BYTES, sources, "");
    free(sources);
    free(path);
}

static void members_of_archives(void **state)
{
    house *h = *state;
    char *cached = in_folder(h->cache, "inputs/prose/prose.txt");
    free(house_archive(h, "a.zip", archive_write_set_format_zip, NULL, "raw/prose.txt", prose, BYTES, AE_IFREG));
    free(house_archive(h, "a.tar.gz", archive_write_set_format_pax_restricted, archive_write_add_filter_gzip, "./raw/prose.txt", prose,
                       BYTES, AE_IFREG));
    free(house_archive(h, "a.tar.zst", archive_write_set_format_ustar, archive_write_add_filter_zstd, "raw/prose.txt", prose, BYTES,
                       AE_IFREG));
    static const char *const archives[] = { "a.zip", "a.tar.gz", "a.tar.zst" };
    for (size_t i = 0; i < 3; i++) {
        archive_manifest(h, archives[i], "raw/prose.txt");
        assert_ok(house_fetch(h, "prose", err));
        expect_clean(h, true);
        unlink(cached);
    }
    archive_manifest(h, "a.zip", "raw/prose");
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "no member raw/prose in it");
    free(house_archive(h, "link.tar", archive_write_set_format_ustar, NULL, "raw/prose.txt", "", 0, AE_IFLNK));
    archive_manifest(h, "link.tar", "raw/prose.txt");
    assert_fails(house_fetch(h, "prose", err), KVANT_INVALID, "not a regular file");
    free(house_file(h, "junk.zip", "PK\x03\x04 and no more", 16));
    archive_manifest(h, "junk.zip", "raw/prose.txt");
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "cannot unpack");
    char *zip = in_folder(h->folder, "a.zip"), *data;
    size_t bytes;
    assert_ok(file_read(zip, &data, &bytes, err));
    write_bytes(zip, data, bytes / 2);
    archive_manifest(h, "a.zip", "raw/prose.txt");
    assert_int_not_equal(house_fetch(h, "prose", NULL), KVANT_OK);
    expect_clean(h, false);
    free(data);
    free(zip);
    free(cached);
}

static void members_that_are_others(void **state)
{
    house *h = *state;
    char *target = in_folder(h->folder, "out"), hex[SHA256_HEX];
    char *deb = house_deb(h, "a.deb", prose, BYTES);
    sha256_of(prose, BYTES, hex);
    assert_ok(unpack_member(deb, "usr/prose.txt", BYTES, hex, target, err));
    expect_content(target, prose, BYTES);
    unlink(target);
    size_t before = count_files(h->folder);
    assert_fails(unpack_member(deb, "usr/prose.txt", BYTES - 1, hex, target, err), KVANT_INVALID, "larger than the 299999 bytes");
    assert_fails(unpack_member(deb, "usr/prose.txt", BYTES + 1, hex, target, err), KVANT_INVALID, "has 300000 bytes");
    hex[0] = hex[0] == 'a' ? 'b' : 'a';
    assert_fails(unpack_member(deb, "usr/prose.txt", BYTES, hex, target, err), KVANT_INVALID, "has sha256");
    assert_fails(unpack_member(deb, "usr/none", BYTES, hex, target, err), KVANT_INVALID, "no member usr/none");
    assert_int_equal(count_files(h->folder), before);
    free(deb);
    free(target);
}

/* ---- Package managers ---------------------------------------------------------------------- */

static void by_pip(void **state)
{
    house *h = *state;
    free(house_archive(h, "prose-1.0-py3-none-any.whl", archive_write_set_format_zip, NULL, "prose/prose.txt", prose, BYTES, AE_IFREG));
    house_manifest(h, prose, BYTES, "{ \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    char *script = text_format("#!/bin/sh\n"
                               "[ \"$1 $2 $3\" = '-m pip download' ] || exit 9\n"
                               "case \" $* \" in *' --no-deps '*'--only-binary=:all:'*' -- prose==1.0 ') ;; *) exit 8 ;; esac\n"
                               "[ -d \"$TMPDIR\" ] && : > \"$TMPDIR/left\" || exit 7\n"
                               "echo talks on stdout; echo talks on stderr >&2\n"
                               "head -c 300000 /dev/zero | tr '\\0' x\n"         /* more than a pipe holds */
                               "cp '%s'/*.whl .\n", h->folder);
    house_program(h, "python3", script);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    assert_non_null(strstr(h->said.data, "pip download prose==1.0"));
    assert_null(strstr(h->said.data, "talks"));
    free(script);
}

static void by_apt(void **state)
{
    house *h = *state;
    free(house_deb(h, "prose_1.0_all.deb", prose, BYTES));
    house_manifest(h, prose, BYTES, "{ \"apt\": \"prose\", \"member\": \"usr/prose.txt\" }", "");
    char *script = text_format("#!/bin/sh\n[ \"$1 $4\" = 'download prose' ] && cp '%s'/*.deb .\n", h->folder);
    house_program(h, "apt-get", script);
    assert_ok(house_fetch(h, "prose", err));
    expect_clean(h, true);
    free(script);
}

static void managers_that_fail(void **state)
{
    house *h = *state;
    static const struct { const char *script, *message; } cases[] = {
        { "#!/bin/sh\necho begins\necho 'ERROR: No matching distribution\033[0m'\necho 'a notice'\nexit 1\n",
          "ERROR: No matching distribution [0m" },
        { "#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n", "python3 failed: No module named pip" },
        { "#!/bin/sh\necho 'ERROR: Exception:'\necho 'Traceback'\necho 'OSError: full'\nexit 2\n", "python3 failed: OSError: full" },
        { "#!/bin/sh\nexit 1\n", "gave no reason" },
        { "#!/bin/sh\nkill -KILL $$\n", "python3 failed" },
        { "#!/bin/sh\nexit 0\n", "left no package" },
        { "#!/bin/sh\n: > a.whl\n: > b.whl\n", "left no package" },
        { "#!/bin/sh\necho text > a.whl\n", "cannot unpack" },
    };
    house_manifest(h, prose, BYTES, "{ \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        house_program(h, "python3", cases[i].script);
        assert_fails(house_fetch(h, "prose", err), KVANT_IO, cases[i].message);
        expect_clean(h, false);
    }
    house_manifest(h, prose, BYTES, "{ \"apt\": \"prose\", \"member\": \"usr/prose.txt\" }", "");
    house_program(h, "apt-get", "#!/bin/sh\necho 'E: Unable to locate package prose'\nexit 100\n");
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "E: Unable to locate package prose; package lists");
    char *path = strdup(getenv("PATH"));
    assert_int_equal(setenv("PATH", h->data, 1), 0);
    assert_fails(house_fetch(h, "prose", err), KVANT_IO, "apt-get is not on this machine");
    assert_int_equal(setenv("PATH", path, 1), 0);
    expect_clean(h, false);
    free(path);
}

/* ---- Several processes --------------------------------------------------------------------- */

/* Fetches in a process of its own; the exit status is the status. */
static pid_t fetch_apart(house *h)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        kvant_error err;
        _exit((int)(interrupt_install(&err) ? KVANT_FAILED : house_fetch(h, "prose", &err)));
    }
    return child;
}

/* Until the script has put a file of this name into the house. */
static void wait_for_file(const house *h, const char *name)
{
    char *path = in_folder(h->folder, name);
    for (int i = 0; access(path, F_OK); i++) {
        assert_true(i < 1000);
        usleep(20000);
    }
    free(path);
}

static void interrupted_fetches(void **state)
{
    house *h = *state;
    house_manifest(h, prose, BYTES, "{ \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    char *script = text_format("#!/bin/sh\n: > half.whl\necho $$ > '%s/pid'\nexec sleep 60\n", h->folder), *pid_text;
    house_program(h, "python3", script);
    pid_t child = fetch_apart(h);
    size_t bytes;
    wait_for_file(h, "pid");
    usleep(100000);
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(wait_for(child), KVANT_INTERRUPTED);
    expect_clean(h, false);
    char *path = in_folder(h->folder, "pid");
    assert_ok(file_read(path, &pid_text, &bytes, err));
    assert_int_equal(kill((pid_t)atol(pid_text), 0), -1);          /* the manager is gone, too */
    free(path);
    free(pid_text);
    free(script);
}

static void two_at_once(void **state)
{
    house *h = *state;
    free(house_archive(h, "prose.whl", archive_write_set_format_zip, NULL, "prose/prose.txt", prose, BYTES, AE_IFREG));
    house_manifest(h, prose, BYTES, "{ \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    char *script = text_format("#!/bin/sh\necho x >> '%s/calls'\nsleep 0.3\ncp '%s'/*.whl .\n", h->folder, h->folder), *calls;
    house_program(h, "python3", script);
    pid_t children[4];
    for (int i = 0; i < 4; i++)
        children[i] = fetch_apart(h);
    for (int i = 0; i < 4; i++)
        assert_int_equal(wait_for(children[i]), KVANT_OK);
    expect_clean(h, true);
    char *path = in_folder(h->folder, "calls");
    size_t bytes;
    assert_ok(file_read(path, &calls, &bytes, err));
    assert_string_equal(calls, "x\n");                              /* one fetched, the others waited */
    free(calls);
    free(path);

    /* A process that is killed at any time leaves a lock that is free. Orphans become children of this process. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    char *cached = in_folder(h->cache, "inputs/prose/prose.txt");
    for (int i = 0; i < 5; i++) {
        unlink(cached);
        pid_t child = fetch_apart(h);
        usleep(100000 * (useconds_t)i);
        kill(child, SIGKILL);
        int code;
        assert_int_equal(waitpid(child, &code, 0), child);
        while (waitpid(-1, &code, 0) > 0)                           /* the script outlives it: its end is awaited here */
            ;
        assert_ok(house_fetch(h, "prose", err));
        expect_clean(h, true);
    }
    free(cached);
    free(script);
}

int main(void)
{
#define with_house(test) cmocka_unit_test_setup_teardown(test, house_open, house_close)
    const struct CMUnitTest tests[] = {
        with_house(by_url), with_house(a_broken_download_goes_on), with_house(leftovers_that_do_not_fit),
        with_house(sources_that_are_wrong), with_house(members_of_archives), with_house(members_that_are_others), with_house(by_pip),
        with_house(by_apt), with_house(managers_that_fail), with_house(interrupted_fetches), with_house(two_at_once),
    };
    return cmocka_run_group_tests(tests, fill_prose, NULL);
}
