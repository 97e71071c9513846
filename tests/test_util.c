/* test_util.c - files that are there whole or not at all, hashes against published vectors, signals, and small texts.
 * A write that fails is provoked by a limit on the size of files, which behaves as a full disk does. */
#include "harness/process.h"
#include "tests/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MILLION_A_SHA256 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void hashes(void **state)
{
    (void)state;
    char hex[SHA256_HEX], *folder = scratch_make(), *path = in_folder(folder, "million");
    sha256_of("", 0, hex);
    assert_string_equal(hex, EMPTY_SHA256);
    sha256_of(NULL, 0, hex);
    assert_string_equal(hex, EMPTY_SHA256);
    sha256_of("abc", 3, hex);
    assert_string_equal(hex, ABC_SHA256);
    sha256 *hash = sha256_begin();
    assert_non_null(hash);
    sha256_add(hash, "a", 1);
    sha256_add(hash, "", 0);
    sha256_add(hash, "bc", 2);
    sha256_end(hash, hex);
    assert_string_equal(hex, ABC_SHA256);

    /* FIPS 180's long message, longer than a piece of sha256_file and no multiple of it. */
    char *a = malloc(1000000);
    assert_non_null(a);
    memset(a, 'a', 1000000);
    assert_ok(file_write(path, a, 1000000, err));
    assert_ok(sha256_file(path, hex, err));
    assert_string_equal(hex, MILLION_A_SHA256);
    free(a);
    assert_fails(sha256_file(folder, hex, err), KVANT_IO, "not a regular file");
    free(path);
    scratch_remove(folder);
}

static void files_read(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "f"), *pipe_path = in_folder(folder, "pipe"), *data = NULL;
    size_t bytes = 7;
    write_bytes(path, "a\0b\n", 4);
    assert_ok(file_read(path, &data, &bytes, err));
    assert_int_equal(bytes, 4);
    assert_memory_equal(data, "a\0b\n", 5);
    free(data);
    write_bytes(path, "", 0);
    assert_ok(file_read(path, &data, &bytes, err));
    assert_int_equal(bytes, 0);
    assert_string_equal(data, "");
    free(data);
    /* A pipe without a writer must not hang. */
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_fails(file_read(pipe_path, &data, &bytes, err), KVANT_IO, "not a regular file");
    assert_fails(file_read(folder, &data, &bytes, err), KVANT_IO, "not a regular file");
    unlink(path);
    assert_fails(file_read(path, &data, &bytes, err), KVANT_IO, "No such file");
    free(path);
    free(pipe_path);
    scratch_remove(folder);
}

static void files_written(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "f"), *data;
    size_t bytes;
    struct stat there;
    mode_t mask = umask(027);
    assert_ok(file_write(path, "one", 3, err));
    umask(mask);
    assert_int_equal(stat(path, &there), 0);
    assert_int_equal(there.st_mode & 0777, 0640);
    assert_ok(file_write(path, "twofold", 7, err));
    assert_ok(file_read(path, &data, &bytes, err));
    assert_string_equal(data, "twofold");
    free(data);
    assert_int_equal(count_files(folder), 1);

    /* Neither a folder nor a device is replaced. */
    assert_fails(file_write(folder, "x", 1, err), KVANT_IO, "not a regular file");
    assert_fails(file_write("/dev/null", "x", 1, err), KVANT_IO, "not a regular file");
    char *deep = in_folder(folder, "none/f");
    assert_fails(file_write(deep, "x", 1, err), KVANT_IO, deep);
    free(deep);

    /* Given up: the old content stays and nothing lies beside it. */
    file_new f;
    assert_ok(file_new_open(&f, path, err));
    assert_int_equal(count_files(folder), 2);
    fputs("half", f.stream);
    file_new_discard(&f);
    file_new_discard(&f);
    assert_ok(file_read(path, &data, &bytes, err));
    assert_string_equal(data, "twofold");
    free(data);
    assert_int_equal(count_files(folder), 1);
    free(path);
    scratch_remove(folder);
}

/* Runs `what` where no file can grow beyond a kilobyte, in a process of its own. */
static void with_small_files(const char *folder, void (*what)(const char *folder))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        struct rlimit limit = { 1024, 1024 };
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit))
            _exit(99);
        what(folder);
        _exit(98);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

/* Each exit status is a place of failure; 0 is success. */
static void write_too_much(const char *folder)
{
    static char data[100000];
    char *path = text_format("%s/f", folder);
    kvant_error err = { "" };
    if (file_write(path, data, sizeof data, &err) != KVANT_IO)
        _exit(1);
    if (!strstr(err.text, path) || !strstr(err.text, strerror(EFBIG)))
        _exit(2);
    /* Small pieces stay in the stream's buffer: the failure only shows at the end, or in between unnoticed. */
    file_new f;
    if (file_new_open(&f, path, &err))
        _exit(3);
    for (int i = 0; i < 1000; i++)
        fputs("a hundred pieces of text", f.stream);
    if (file_new_commit(&f, &err) != KVANT_IO)
        _exit(4);
    _exit(0);
}

static void writes_that_fail(void **state)
{
    (void)state;
    char *folder = scratch_make(), *path = in_folder(folder, "f"), *data;
    size_t bytes;
    assert_ok(file_write(path, "old", 3, err));
    with_small_files(folder, write_too_much);
    assert_ok(file_read(path, &data, &bytes, err));
    assert_string_equal(data, "old");
    free(data);
    assert_int_equal(count_files(folder), 1);
    errno = ENOSPC;
    assert_fails(file_fail(err, path, "cannot write"), KVANT_IO, "free some space");
    free(path);
    scratch_remove(folder);
}

static void folders(void **state)
{
    (void)state;
    char *folder = scratch_make(), *deep = in_folder(folder, "a/b//c/"), *file = in_folder(folder, "x/y/f");
    struct stat there;
    assert_ok(make_folders(deep, false, err));
    assert_ok(make_folders(deep, false, err));
    assert_int_equal(stat(deep, &there), 0);
    assert_ok(make_folders(file, true, err));
    assert_int_equal(stat(file, &there), -1);
    write_text(file, "");
    assert_fails(make_folders(file, false, err), KVANT_IO, "not a folder");
    assert_ok(make_folders("plain", true, err));
    free(file);
    file = in_folder(folder, "x/y/f/z");
    assert_fails(make_folders(file, false, err), KVANT_IO, "x/y/f: not a folder");
    free(deep);
    free(file);
    scratch_remove(folder);
}

static void texts(void **state)
{
    (void)state;
    text t = { 0 };
    text_add(&t, "%s", "");
    assert_string_equal(t.data, "");
    for (int i = 0; i < 1000; i++)
        text_add(&t, "%d,", i);
    assert_int_equal(t.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(t.data), t.length);
    assert_string_equal(t.data + t.length - 8, "998,999,");
    assert_false(t.failed);
    text_free(&t);
    assert_null(t.data);

    static const struct { uint64_t bytes; const char *digits; } sizes[] = {
        { 0, "0 B" }, { 999, "999 B" }, { 1000, "1.0 kB" }, { 9949, "9.9 kB" }, { 9950, "10 kB" }, { 999499, "999 kB" },
        { 999500, "1.0 MB" }, { 98362432, "98 MB" }, { UINT64_MAX, "18 EB" },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char digits[16];
        bytes_text(sizes[i].bytes, digits);
        assert_string_equal(digits, sizes[i].digits);
    }

    char now[32];
    time_text(now);
    assert_int_equal(strlen(now), 20);
    assert_true(now[4] == '-' && now[10] == 'T' && now[19] == 'Z');
}

static void clock_and_memory(void **state)
{
    (void)state;
    double before = seconds_now();
    usleep(2000);
    double passed = seconds_now() - before;
    assert_true(passed >= .002 && passed < 60);
    size_t small = resident_bytes(), bytes = 64 << 20;
    assert_true(small > 0 && peak_bytes() >= small);
    char *much = malloc(bytes);
    assert_non_null(much);
    memset(much, 1, bytes);
    assert_true(much[bytes / 2] == 1 && resident_bytes() >= small + bytes / 2 && peak_bytes() >= small + bytes / 2);
    free(much);
}

static void names(void **state)
{
    (void)state;
    static const char *const known[] = { "turboquant_mse", "affine", "f16", "smollm2-135m", NULL };
    assert_string_equal(nearest_name("turbo_quant_mse", known), "turboquant_mse");
    assert_string_equal(nearest_name("afine", known), "affine");
    assert_string_equal(nearest_name("smollm2", known), "smollm2-135m");
    assert_null(nearest_name("perplexity", known));
}

static void await_interrupt(void)
{
    for (int i = 0; i < 1000 && !interrupted(); i++)
        usleep(10000);
}

/* In a process of its own that gets one signal, and `later` milliseconds after it is noted another: how it ends, which is by an exit
 * status (negative) when neither kills it. */
static int signalled(int first, int second, int later)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        kvant_error none;
        if (interrupt_install(&none) || interrupted())
            _exit(1);
        kill(getpid(), first);
        await_interrupt();
        if (!interrupted())
            _exit(2);
        usleep((useconds_t)later * 1000);
        kill(getpid(), second);
        usleep(300000);
        _exit(3);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    return WIFSIGNALED(code) ? WTERMSIG(code) : -WEXITSTATUS(code);
}

static void interrupts(void **state)
{
    (void)state;
    assert_false(interrupted());
    assert_int_equal(signalled(SIGINT, SIGINT, 900), SIGINT);
    assert_int_equal(signalled(SIGTERM, SIGINT, 900), SIGINT);
    assert_int_equal(signalled(SIGINT, SIGTERM, 900), SIGTERM);
    assert_int_equal(signalled(SIGTERM, SIGTERM, 0), -3);         /* as timeout(1) sends them */
}

/* A handler would run on the stack of whichever thread the kernel picks, and oneDNN's products keep another address in the stack
 * pointer than that of a stack: the heap got overwritten. So there is no handler, and every working thread blocks both signals. */
static void no_handler_on_a_working_thread(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        static const int numbers[] = { SIGINT, SIGTERM };
        kvant_error none;
        int open_to = interrupt_install(&none) != KVANT_OK;
        for (int i = 0; i < 2; i++) {
            struct sigaction now;
            open_to += sigaction(numbers[i], NULL, &now) || now.sa_handler != SIG_DFL;
        }
#pragma omp parallel num_threads(3) reduction(+ : open_to)
        for (int i = 0; i < 2; i++) {
            sigset_t blocked;
            open_to += pthread_sigmask(SIG_BLOCK, NULL, &blocked) || !sigismember(&blocked, numbers[i]);
        }
        _exit(open_to);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

/* What this program ignores or blocks ends a program that it starts. */
static void programs_get_signals(void **state)
{
    (void)state;
    static const int numbers[] = { SIGINT, SIGTERM, SIGPIPE };
    static const char *const sleeper[] = { "sleep", "60", NULL }, *const missing[] = { "no-such-program-here", NULL };
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        kvant_error none;
        pid_t started;
        signal(SIGPIPE, SIG_IGN);
        int wrong = interrupt_install(&none) || process_start(missing, NULL, 1, NULL, &started) != ENOENT;
        for (int i = 0; i < 3 && !wrong; i++) {
            int code = 0;
            wrong = process_start(sleeper, "/", 1, NULL, &started) || kill(started, numbers[i]) ||
                    waitpid(started, &code, 0) != started || !WIFSIGNALED(code) || WTERMSIG(code) != numbers[i];
        }
        _exit(wrong);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

/* Forms that are too long, surrogates, what is cut short or beyond the last code point: none is a character, each is one byte. */
static void characters(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; unsigned code; } cases[] = {
        { "a", 1, 'a' }, { "\xc3\xa9", 2, 0xe9 }, { "\xe2\x89\xa4", 3, 0x2264 }, { "\xf0\x9f\x98\x80", 4, 0x1f600 },
        { "\xc2\x80", 2, 0x80 }, { "\xe0\xa0\x80", 3, 0x800 }, { "\xf4\x8f\xbf\xbf", 4, 0x10ffff }, { "\xc0\x80", 1, 0xfffd },
        { "\xe0\x9f\xbf", 1, 0xfffd }, { "\xf0\x8f\xbf\xbf", 1, 0xfffd }, { "\xed\xa0\x80", 1, 0xfffd },
        { "\xf4\x90\x80\x80", 1, 0xfffd }, { "\xff", 1, 0xfffd }, { "\x80", 1, 0xfffd }, { "\xe2\x89", 1, 0xfffd },
        { "\xe2" "a", 1, 0xfffd }, { "\xf8\x88\x80\x80\x80", 1, 0xfffd },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned code = 0;
        assert_int_equal(utf8_character(cases[i].bytes, &code), cases[i].n);
        assert_int_equal(code, cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes), cmocka_unit_test(files_read), cmocka_unit_test(files_written), cmocka_unit_test(writes_that_fail),
        cmocka_unit_test(folders), cmocka_unit_test(texts), cmocka_unit_test(clock_and_memory), cmocka_unit_test(names),
        cmocka_unit_test(interrupts),
        cmocka_unit_test(no_handler_on_a_working_thread),
        cmocka_unit_test(programs_get_signals), cmocka_unit_test(characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
