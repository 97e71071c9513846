/* inputs.h - made-up manifests, archives and package managers for the tests of finding and fetching.
 * Nothing here reaches beyond this machine: URLs are file:, and pip and apt-get are scripts of the test's own. */
#ifndef KVANT_TESTS_INPUTS_H
#define KVANT_TESTS_INPUTS_H

#include "harness/input/input.h"
#include "tests/scratch.h"

#include <archive.h>
#include <archive_entry.h>

/* A folder with everything a test of inputs needs; the settings point into it. */
typedef struct { char *folder, *data, *cache, *manifest; text said; } house;

static inline void house_settings(const house *h) { input_settings(h->data, h->cache, h->manifest); }

static inline int house_open(void **state)
{
    house *h = calloc(1, sizeof *h);
    assert_non_null(h);
    h->folder = scratch_make();
    h->data = in_folder(h->folder, "data");
    h->cache = in_folder(h->folder, "cache");
    h->manifest = in_folder(h->folder, "manifest.json");
    assert_ok(make_folders(h->data, false, err));
    house_settings(h);
    *state = h;
    return 0;
}

static inline int house_close(void **state)
{
    house *h = *state;
    input_settings(NULL, NULL, NULL);
    scratch_remove(h->folder);
    free(h->data);
    free(h->cache);
    free(h->manifest);
    text_free(&h->said);
    free(h);
    return 0;
}

static inline void house_say(void *user, const char *line) { text_add(&((house *)user)->said, "%s\n", line); }

static inline kvant_status house_fetch(house *h, const char *name, kvant_error *err)
{
    text_free(&h->said);
    text_add(&h->said, "%s", "");
    return input_fetch(name, house_say, h, err);
}

/* A manifest of one text input "prose" of these bytes, with sources as JSON; %s in them is the house's folder. */
static inline void house_manifest(const house *h, const void *content, size_t bytes, const char *sources, const char *where)
{
    char hex[SHA256_HEX];
    text t = { 0 };
    sha256_of(content, bytes, hex);
    text_add(&t, "{ \"inputs\": [ { \"name\": \"prose\", \"kind\": \"text\", \"dataset\": \"text\", \"about\": \"a text\","
                 " \"licence\": \"MIT\", \"bytes\": %zu, \"sha256\": \"%s\", \"sources\": [", bytes, hex);
    for (const char *p = sources; *p; p++)
        if (*p == '@')
            text_add(&t, "%s", where);
        else
            text_add(&t, "%c", *p);
    text_add(&t, "] } ] }\n");
    assert_false(t.failed);
    write_text(h->manifest, t.data);
    text_free(&t);
}

static inline char *house_file(const house *h, const char *name, const void *content, size_t bytes)
{
    char *path = in_folder(h->folder, name);
    assert_ok(make_folders(path, true, err));
    write_bytes(path, content, bytes);
    return path;
}

static inline void expect_content(const char *path, const void *content, size_t bytes)
{
    char *data;
    size_t n;
    assert_ok(file_read(path, &data, &n, err));
    assert_int_equal(n, bytes);
    assert_memory_equal(data, content, n);
    free(data);
}

/* An archive of one member beside a decoy; format is "zip", "tar.xz" or "ar" as libarchive knows them. */
static inline char *house_archive(const house *h, const char *name, int (*format)(struct archive *), int (*filter)(struct archive *),
                                  const char *member, const void *content, size_t bytes, unsigned type)
{
    char *path = in_folder(h->folder, name);
    const char *const names[2] = { "decoy", member };
    struct archive *a = archive_write_new();
    assert_non_null(a);
    assert_int_equal(format(a), ARCHIVE_OK);
    assert_int_equal(filter ? filter(a) : ARCHIVE_OK, ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (int i = 0; i < 2; i++) {
        struct archive_entry *e = archive_entry_new();
        size_t n = i && type == AE_IFREG ? bytes : i ? 0 : 5;
        assert_non_null(e);
        archive_entry_set_pathname(e, names[i]);
        archive_entry_set_filetype(e, i ? type : AE_IFREG);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (la_int64_t)n);
        if (i && type == AE_IFLNK)
            archive_entry_set_symlink(e, "decoy");
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, i ? content : "decoy", n), n);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return path;
}

/* A Debian package in small: an ar whose member data.tar.xz holds ./usr/prose.txt. */
static inline char *house_deb(const house *h, const char *name, const void *content, size_t bytes)
{
    char *tar = house_archive(h, "inner.tar.xz", archive_write_set_format_ustar, archive_write_add_filter_xz, "./usr/prose.txt", content,
                              bytes, AE_IFREG), *data;
    size_t n;
    assert_ok(file_read(tar, &data, &n, err));
    char *deb = house_archive(h, name, archive_write_set_format_ar_svr4, NULL, "data.tar.xz", data, n, AE_IFREG);
    free(data);
    free(tar);
    return deb;
}

/* Puts a script of this name before all other programs. */
static inline void house_program(const house *h, const char *name, const char *script)
{
    char *path = text_format("%s/bin/%s", h->folder, name), *old = getenv("PATH");
    assert_non_null(path);
    assert_ok(make_folders(path, true, err));
    write_text(path, script);
    assert_int_equal(chmod(path, 0755), 0);
    char *bin = in_folder(h->folder, "bin");
    if (!old || strncmp(old, bin, strlen(bin))) {
        char *paths = text_format("%s:%s", bin, old ? old : "");
        assert_non_null(paths);
        assert_int_equal(setenv("PATH", paths, 1), 0);
        free(paths);
    }
    free(bin);
    free(path);
}

#endif
