/* test_input.c - finding inputs by name and path: manifests that are wrong, files that are others, hashes that are remembered. */
#include "tests/inputs.h"

#include <fcntl.h>
#include <time.h>

#define PROSE "Call me Ishmael.\n"
#define PROSE_BYTES (sizeof PROSE - 1)
#define ZEROS "00000000000000000000000000000000"
#define PART(bytes) "{ \"pypi\": \"prose==1\", \"member\": \"b\", \"bytes\": " bytes ", \"sha256\": \"" ZEROS ZEROS "\" }"
#define PARTS(a, b) "{ \"parts\": [ " a ", " b " ] }"
#define FILE_SOURCE "{ \"file\": \"prose.txt\" }"

static void found_in_data_folders(void **state)
{
    house *h = *state;
    kvant_input input;
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE, "");
    assert_fails(input_find("prose", &input, err), KVANT_INVALID,
                 "prose: not on this machine; put prose.txt (17 B, MIT) into a folder of KVANT_DATA");
    char *deep = house_file(h, "data/a/b/prose.txt", PROSE, PROSE_BYTES);
    assert_ok(input_find("prose", &input, err));
    char hex[SHA256_HEX];
    sha256_of(PROSE, PROSE_BYTES, hex);
    assert_string_equal(input.path, deep);
    assert_string_equal(input.sha256, hex);
    assert_string_equal(input.name, "prose");
    assert_string_equal(input.kind, "text");
    assert_string_equal(input.dataset, "text");
    assert_string_equal(input.licence, "MIT");
    assert_int_equal(input.bytes, PROSE_BYTES);

    /* Files of the same name but another size or other bytes are passed over, wherever they lie. */
    char *size = house_file(h, "data/prose.txt", "x", 1), *bytes = house_file(h, "data/a/a/prose.txt", "Call me Ishmael!\n", PROSE_BYTES);
    assert_ok(input_find("prose", &input, err));
    assert_string_equal(input.path, deep);
    unlink(deep);
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "data/prose.txt is another file (its size differs)");
    unlink(size);
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "a/a/prose.txt is another file (its sha256 differs)");

    /* Five folders down is too deep, hidden folders are not searched, and several folders are searched in order. */
    char *too_deep = house_file(h, "data/1/2/3/4/5/prose.txt", PROSE, PROSE_BYTES);
    char *hidden = house_file(h, "data/.git/prose.txt", PROSE, PROSE_BYTES);
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "not on this machine");
    char *second = house_file(h, "second/prose.txt", PROSE, PROSE_BYTES);
    char *folders = text_format(":%s/none:%s:%s/second:", h->folder, h->data, h->folder);
    input_settings(folders, h->cache, h->manifest);
    assert_ok(input_find("prose", &input, err));
    assert_string_equal(input.path, second);
    house_settings(h);
    free(folders);
    free(second);
    free(hidden);
    free(too_deep);
    free(bytes);
    free(size);
    free(deep);
}

static void links_in_circles_end(void **state)
{
    house *h = *state;
    kvant_input input;
    char *loop = in_folder(h->data, "loop");
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE, "");
    assert_int_equal(symlink(h->data, loop), 0);
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "not on this machine");
    free(loop);
}

static void found_in_the_cache_or_not_fetched(void **state)
{
    house *h = *state;
    kvant_input input;
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE ", { \"pypi\": \"prose==1.0\", \"member\": \"prose/prose.txt\" }", "");
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "prose: not on this machine; `kvant fetch prose` gets it (17 B, MIT), "
                 "or put prose.txt into a folder of KVANT_DATA");
    assert_fails(input_find("pros", &input, err), KVANT_INVALID, "did you mean 'prose'");
    assert_fails(input_find("zebra", &input, err), KVANT_INVALID, "zebra: no such file, and no input of this name; `kvant");
    char *cached = house_file(h, "cache/inputs/prose/prose.txt", PROSE, PROSE_BYTES);
    assert_ok(input_find("prose", &input, err));
    assert_string_equal(input.path, cached);
    char *here = house_file(h, "data/prose.txt", PROSE, PROSE_BYTES);
    assert_ok(input_find("prose", &input, err));
    assert_string_equal(input.path, here);
    free(here);
    free(cached);
}

static void found_by_path(void **state)
{
    house *h = *state;
    static const struct { const char *name, *content, *kind, *dataset; } files[] = {
        { "a.txt", "words", "text", "text" }, { "a.npy", "", "vectors", "npy" }, { "a.GGUF", "", "model", "" },
        { "weights.bin", "GGUF and more", "model", "" }, { "a.bvecs", "x", "vectors", "fvecs" },
    };
    kvant_input input;
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE, "");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = house_file(h, files[i].name, files[i].content, strlen(files[i].content)), hex[SHA256_HEX];
        assert_ok(input_find(path, &input, err));
        sha256_of(files[i].content, strlen(files[i].content), hex);
        assert_string_equal(input.kind, files[i].kind);
        assert_string_equal(input.dataset, files[i].dataset);
        assert_string_equal(input.name, files[i].name);
        assert_string_equal(input.path, path);
        assert_string_equal(input.sha256, hex);
        assert_int_equal(input.bytes, strlen(files[i].content));
        free(path);
    }
    char *other = house_file(h, "a.pdf", "x", 1), *none = in_folder(h->folder, "none.txt");
    assert_fails(input_find(other, &input, err), KVANT_INVALID, "suffix");
    assert_fails(input_find(none, &input, err), KVANT_IO, "none.txt");
    assert_fails(input_find(h->data, &input, err), KVANT_INVALID, "not a regular file");

    /* A file of the working folder needs no slash; an input of the manifest comes first. */
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(h->folder), 0);
    kvant_error error;
    kvant_status status = input_find("a.txt", &input, &error);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, KVANT_OK);
    assert_string_equal(input.path, "a.txt");
    free(none);
    free(other);
}

/* The one note in the cache, or NULL. */
static char *only_note(const house *h)
{
    char *folder = in_folder(h->cache, "hashes"), *note = NULL;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') {
            assert_null(note);
            note = in_folder(folder, e->d_name);
        }
    if (d)
        closedir(d);
    free(folder);
    return note;
}

static void hashes_are_remembered(void **state)
{
    house *h = *state;
    kvant_input input;
    char *path = house_file(h, "a.txt", PROSE, PROSE_BYTES), hex[SHA256_HEX], made_up[SHA256_HEX], *note, *data;
    size_t bytes;
    sha256_of(PROSE, PROSE_BYTES, hex);
    /* A file that has only just been written is not: it may change again within the same tick of the clock. */
    assert_ok(input_find(path, &input, err));
    note = only_note(h);
    assert_null(note);
    nanosleep(&(struct timespec){ .tv_sec = 3 }, NULL);
    assert_ok(input_find(path, &input, err));
    note = only_note(h);
    assert_non_null(note);

    /* A made-up hash in the note shows that it is used, and no longer once the file has changed. */
    assert_ok(file_read(note, &data, &bytes, err));
    assert_memory_equal(data, hex, 64);
    memset(data, 'a', 64);
    assert_ok(file_write(note, data, bytes, err));
    assert_ok(input_find(path, &input, err));
    memset(made_up, 'a', 64);
    made_up[64] = '\0';
    assert_string_equal(input.sha256, made_up);
    static const char *const damaged[] = { "", "aaaa", "xyz 17 1.0 1.0 1:1 /\n" };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        write_text(note, damaged[i]);
        assert_ok(input_find(path, &input, err));
        assert_string_equal(input.sha256, hex);
    }
    assert_ok(file_write(note, data, bytes, err));
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    write_text(path, "Call me Ishmael?\n");
    /* Even when size and mtime are put back. */
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){ there.st_atim, there.st_mtim }, 0), 0);
    assert_ok(input_find(path, &input, err));
    sha256_of("Call me Ishmael?\n", PROSE_BYTES, hex);
    assert_string_equal(input.sha256, hex);
    free(data);
    free(note);
    free(path);
}

static void a_cache_that_cannot_be_written(void **state)
{
    house *h = *state;
    kvant_input input;
    /* A folder below a file cannot be made by anyone; permissions would not stop root. */
    char *file = house_file(h, "file", "", 0), *below = in_folder(file, "cache"), *path = house_file(h, "a.txt", PROSE, PROSE_BYTES);
    char hex[SHA256_HEX];
    sha256_of(PROSE, PROSE_BYTES, hex);
    nanosleep(&(struct timespec){ .tv_sec = 3 }, NULL);
    const char *const caches[] = { below, "", NULL };
    for (size_t i = 0; i < 3; i++) {
        input_settings(h->data, caches[i], h->manifest);
        assert_ok(input_find(path, &input, err));
        assert_string_equal(input.sha256, hex);
    }
    free(path);
    free(below);
    free(file);
}

static void manifests_that_are_wrong(void **state)
{
    house *h = *state;
    /* Each replaces one part of a manifest that is right. */
    static const struct { const char *part, *by, *message; } cases[] = {
        { "\"licence\"", "\"license\"", "did you mean 'licence'" },
        { "\"kind\": \"text\"", "\"kind\": \"txt\"", "inputs[0].kind" },
        { "\"name\": \"prose\"", "\"name\": \"Prose\"", "small letters" },
        { "\"name\": \"prose\"", "\"name\": \"../prose\"", "small letters" },
        { "\"bytes\": 17", "\"bytes\": -17", "bytes" },
        { "\"bytes\": 17", "\"bytes\": 1.5", "bytes" },
        { "\"sha256\": \"", "\"sha256\": \"0", "64 hexadecimal" },
        { "\"dataset\": \"text\",", "", "'dataset' is missing" },
        { "\"inputs\"", "\"input\"", "did you mean 'inputs'" },
        { FILE_SOURCE, "{ \"file\": \"a/prose.txt\" }", "without folders" },
        { FILE_SOURCE, "{ \"file\": \".prose\" }", "without folders" },
        { FILE_SOURCE, "{ \"file\": \"a\", \"url\": \"https://x/a\" }", "one of" },
        { FILE_SOURCE, "{ \"member\": \"a\" }", "one of" },
        { FILE_SOURCE, "{ \"file\": \"a\", \"member\": \"b\" }", "has members" },
        { FILE_SOURCE, "{ \"pypi\": \"prose\", \"member\": \"b\" }", "NAME==VERSION" },
        { FILE_SOURCE, "{ \"pypi\": \"-r==1\", \"member\": \"b\" }", "NAME==VERSION" },
        { FILE_SOURCE, "{ \"pypi\": \"a b==1\", \"member\": \"b\" }", "NAME==VERSION" },
        { FILE_SOURCE, "{ \"pypi\": \"prose==1\" }", "'member' is missing" },
        { FILE_SOURCE, "{ \"apt\": \"--help\", \"member\": \"b\" }", "Debian package" },
        { FILE_SOURCE, "{ \"apt\": \"prose\", \"member\": \"../b\" }", "within the package" },
        { FILE_SOURCE, "{ \"apt\": \"prose\", \"member\": \"a/../b\" }", "within the package" },
        { FILE_SOURCE, "{ \"apt\": \"prose\", \"member\": \"/etc/passwd\" }", "within the package" },
        { FILE_SOURCE, "{ \"url\": \"http://x/a\" }", "https:" },
        { FILE_SOURCE, "{ \"url\": \"https://x/\" }", "https:" },
        { FILE_SOURCE, "{ \"url\": \"https://x/a\", \"bytes\": 3 }", "only an archive" },
        { FILE_SOURCE, "{ \"url\": \"https://x/a.zip\", \"member\": \"b\" }", "bytes" },
        { FILE_SOURCE, "7", "must be an object" },
        { FILE_SOURCE, "", "empty array" },
        { "\"bytes\"", "\"terms\": \"http://x/terms\", \"bytes\"", "https: URL" },
        { "\"bytes\"", "\"terms\": \"https://x/a b\", \"bytes\"", "https: URL" },
        { FILE_SOURCE, PARTS(PART("8"), PART("9")), "the first source must name the file" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS(PART("8"), PART("8")), "the parts have 16 bytes, and the file has 17" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS(PART("8"), PART("10")), "more bytes than the 17" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS(PART("9e15"), PART("9e15")), "more bytes than the 17" },
        { FILE_SOURCE, FILE_SOURCE ", { \"parts\": [ " PART("17") " ] }", "array of 2 to 64" },
        { FILE_SOURCE, FILE_SOURCE ", { \"parts\": 2 }", "array of 2 to 64" },
        { FILE_SOURCE, FILE_SOURCE ", { \"parts\": 2, \"url\": \"https://x/a\" }", "one of" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS(FILE_SOURCE, PART("8")), "a part is of" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS("{ \"parts\": 2 }", PART("8")), "a part is of" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS("{ \"url\": \"https://x/a\", \"member\": \"b\" }", PART("8")),
          "a URL's is the file itself" },
        { FILE_SOURCE, FILE_SOURCE ", " PARTS("{ \"url\": \"https://x/a\" }", PART("8")), "'bytes' must be" },
        { FILE_SOURCE, "{ \"pypi\": \"prose==1\", \"member\": \"b\", \"bytes\": 17 }", "only an archive at a URL and a part" },
    };
    kvant_input input;
    char *right;
    size_t bytes;
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE, "");
    assert_ok(file_read(h->manifest, &right, &bytes, err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *at = strstr(right, cases[i].part);
        assert_non_null(at);
        char *wrong = text_format("%.*s%s%s", (int)(at - right), right, cases[i].by, at + strlen(cases[i].part));
        assert_non_null(wrong);
        write_text(h->manifest, wrong);
        assert_fails(input_find("prose", &input, err), KVANT_INVALID, cases[i].message);
        assert_fails(input_find("prose", &input, err), KVANT_INVALID, h->manifest);
        free(wrong);
    }
    /* The same entry twice. */
    char *entry = strchr(right, '[') + 1, *end = strrchr(right, ']');
    char *twice = text_format("{ \"inputs\": [%.*s,%.*s] }", (int)(end - entry), entry, (int)(end - entry), entry);
    write_text(h->manifest, twice);
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, "'prose' is there twice");
    free(twice);
    free(right);
    write_text(h->manifest, "{ \"inputs\": [ ");
    assert_fails(input_find("prose", &input, err), KVANT_INVALID, h->manifest);
    unlink(h->manifest);
    assert_fails(input_find("prose", &input, err), KVANT_IO, h->manifest);
    input_settings(h->data, h->cache, NULL);
    assert_fails(input_find("prose", &input, err), KVANT_IO, "manifest.json");
}

static void note_entry(void *user, const input_entry *e)
{
    text_add(user, "%s|%s|%s|%d|%d|%s%s%s\n", e->name, e->kind, e->licence, (int)e->bytes, e->here, e->about, *e->terms ? "|" : "",
             e->terms);
}

static void lists(void **state)
{
    house *h = *state;
    text t = { 0 };
    house_manifest(h, PROSE, PROSE_BYTES, FILE_SOURCE, "");
    assert_ok(input_list(note_entry, &t, err));
    free(house_file(h, "data/prose.txt", PROSE, PROSE_BYTES));
    assert_ok(input_list(note_entry, &t, err));
    assert_string_equal(t.data, "prose|text|MIT|17|0|a text\nprose|text|MIT|17|1|a text\n");
    text_free(&t);
}

/* The manifest that is shipped: readable, and its WikiText-2 is the file that is known by that name, where it is at hand. */
static void the_shipped_manifest(void **state)
{
    house *h = *state;
    text t = { 0 };
    kvant_input input;
    input_settings(getenv("KVANT_DATA"), h->cache, "datasets/manifest.json");
    if (access("datasets/manifest.json", R_OK)) {
        print_message("run from the root of the source tree\n");
        skip();
    }
    assert_ok(input_list(note_entry, &t, err));
    assert_non_null(strstr(t.data, "smollm2-135m|model|Apache-2.0|98362432|"));
    assert_non_null(strstr(t.data, "gemma-3-270m|model|Gemma Terms of Use|253113024|"));
    assert_non_null(strstr(t.data, "|https://ai.google.dev/gemma/terms\n"));
    assert_non_null(strstr(t.data, "jargon|text|public domain|647981|"));
    bool here = strstr(t.data, "wikitext-2|text|CC BY-SA 3.0|1290547|1|");
    text_free(&t);
    if (!here) {
        print_message("no wiki.test.raw in a folder of KVANT_DATA\n");
        skip();
    }
    assert_ok(input_find("wikitext-2", &input, err));
    assert_string_equal(input.dataset, "text");
}

int main(void)
{
#define with_house(test) cmocka_unit_test_setup_teardown(test, house_open, house_close)
    const struct CMUnitTest tests[] = {
        with_house(found_in_data_folders), with_house(links_in_circles_end), with_house(found_in_the_cache_or_not_fetched),
        with_house(found_by_path), with_house(hashes_are_remembered), with_house(a_cache_that_cannot_be_written),
        with_house(manifests_that_are_wrong), with_house(lists), with_house(the_shipped_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
