/* npy.c - writes and reads .npy files. The header is a Python dict literal; its three known keys are parsed by hand and
 * nothing else is accepted, so a hostile file meets a few lines of code instead of an evaluator. */
#include "harness/input/npy.h"

#include "algorithms/shared/half.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are written and read as they lie in memory");

enum {
    PREAMBLE = 10,              /* magic, version, 16-bit header length */
    HEADER_MAX = 65536,
    PIECE = 8192                /* numbers converted at a time */
};
static const char magic[6] = { '\x93', 'N', 'U', 'M', 'P', 'Y' };

/* ---- Writing ------------------------------------------------------------------------------- */

static bool multiply(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }

kvant_status npy_begin(npy_writer *w, const char *path, size_t rank, const size_t *shape, kvant_error *err)
{
    *w = (npy_writer){ .row = 1 };
    if (rank < 1 || rank > NPY_MAX_RANK)
        return kvant_fail(err, KVANT_INVALID, "%s: an array of rank %zu, but 1 to %d can be written", path, rank, NPY_MAX_RANK);
    for (size_t i = 1; i < rank; i++)
        if (!multiply(w->row, shape[i], &w->row))
            return kvant_fail(err, KVANT_INVALID, "%s: the array's shape is too large", path);
    size_t floats, all;
    if (!multiply(w->row, shape[0], &floats) || !multiply(floats, sizeof(float), &all))
        return kvant_fail(err, KVANT_INVALID, "%s: the array's shape is too large", path);
    w->left = shape[0];

    char header[256];
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (size_t i = 0; i < rank; i++)
        n += snprintf(header + n, sizeof header - (size_t)n, i + 1 < rank ? "%zu, " : rank == 1 ? "%zu," : "%zu", shape[i]);
    n += snprintf(header + n, sizeof header - (size_t)n, "), }");
    /* Padded by spaces so that the numbers begin at a multiple of 64, and ended by a newline. */
    size_t length = ((size_t)n + 1 + PREAMBLE + 63) / 64 * 64 - PREAMBLE;
    unsigned char preamble[PREAMBLE] = { [6] = 1, [7] = 0, [8] = (unsigned char)length, [9] = (unsigned char)(length >> 8) };
    memcpy(preamble, magic, sizeof magic);

    kvant_status status = file_new_open(&w->file, path, err);
    if (status)
        return status;
    fwrite(preamble, 1, PREAMBLE, w->file.stream);        /* an error shows in the stream's flag, which commit looks at */
    fprintf(w->file.stream, "%-*s\n", (int)length - 1, header);
    return KVANT_OK;
}

kvant_status npy_rows(npy_writer *w, const float *x, size_t rows, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    errno = 0;
    if (rows > w->left)
        status = kvant_fail(err, KVANT_INVALID, "%s: %zu rows more than announced", w->file.path, rows - w->left);
    else if (fwrite(x, sizeof *x, rows * w->row, w->file.stream) != rows * w->row)
        status = file_fail(err, w->file.path, "cannot write");
    w->left -= rows <= w->left ? rows : 0;
    if (status)
        npy_discard(w);
    return status;
}

kvant_status npy_end(npy_writer *w, kvant_error *err)
{
    if (!w->left)
        return file_new_commit(&w->file, err);
    kvant_status status = kvant_fail(err, KVANT_INVALID, "%s: %zu rows are missing", w->file.path, w->left);
    npy_discard(w);
    return status;
}

void npy_discard(npy_writer *w) { file_new_discard(&w->file); }

/* ---- Reading the header -------------------------------------------------------------------- */

/* The rest of the header's text; it ends with a NUL that the text itself does not contain. */
typedef struct { const char *p; } scanner;

static bool take(scanner *s, char c)
{
    s->p += strspn(s->p, " \n");
    if (*s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(scanner *s, const char *word)
{
    size_t n = strlen(word);
    s->p += strspn(s->p, " \n");
    if (strncmp(s->p, word, n))
        return false;
    s->p += n;
    return true;
}

/* A quoted text of 1 to 31 characters without escapes. */
static bool take_string(scanner *s, char value[32])
{
    char quote = take(s, '\'') ? '\'' : '"';
    if (quote == '"' && !take(s, '"'))
        return false;
    size_t n = strcspn(s->p, "'\"\\");
    if (s->p[n] != quote || n < 1 || n > 31)
        return false;
    memcpy(value, s->p, n);
    value[n] = '\0';
    s->p += n + 1;
    return true;
}

static bool take_size(scanner *s, size_t *value)
{
    s->p += strspn(s->p, " \n");
    size_t digits = strspn(s->p, "0123456789");
    *value = 0;
    for (size_t i = 0; i < digits; i++)
        if (!multiply(*value, 10, value) || __builtin_add_overflow(*value, (size_t)(s->p[i] - '0'), value))
            return false;
    s->p += digits;
    return digits > 0;
}

/* (), (n,), (n, m), (n, m, ): as Python prints them. (n) would be a number, not a tuple. */
static bool take_shape(scanner *s, npy_array *array)
{
    bool comma = true;
    if (!take(s, '('))
        return false;
    for (array->rank = 0; !take(s, ')'); array->rank++) {
        if (!comma || array->rank == NPY_MAX_RANK || !take_size(s, &array->shape[array->rank]))
            return false;
        comma = take(s, ',');
    }
    return array->rank != 1 || comma;
}

/* The dict with exactly the keys descr, fortran_order and shape; size receives the bytes of a number. */
static kvant_status parse_header(const char *literal, const char *name, npy_array *array, size_t *size, kvant_error *err)
{
    scanner s = { literal };
    char key[32], descr[32] = "";
    bool have_order = false, fortran = false, have_shape = false, ok = take(&s, '{');
    while (ok && !take(&s, '}')) {
        ok = take_string(&s, key) && take(&s, ':');
        if (ok && !strcmp(key, "descr") && !*descr)
            ok = take_string(&s, descr);
        else if (ok && !strcmp(key, "fortran_order") && !have_order)
            ok = have_order = (fortran = take_word(&s, "True")) || take_word(&s, "False");
        else if (ok && !strcmp(key, "shape") && !have_shape)
            ok = have_shape = take_shape(&s, array);
        else
            ok = false;
        if (ok && !take(&s, ',')) {
            ok = take(&s, '}');
            break;
        }
    }
    if (!ok || !*descr || !have_order || !have_shape || s.p[strspn(s.p, " \n")])
        return kvant_fail(err, KVANT_INVALID, "%s: header: not a dict of descr, fortran_order and a shape of at most %d axes", name,
                          NPY_MAX_RANK);
    if (fortran)
        return kvant_fail(err, KVANT_INVALID, "%s: header: in Fortran order; save numpy.ascontiguousarray of it", name);
    if (descr[0] == '<' && descr[1] == 'f' && strchr("248", descr[2]) && descr[2] && !descr[3])
        *size = (size_t)(descr[2] - '0');
    else
        return kvant_fail(err, KVANT_INVALID, "%s: header: holds '%s'; only '<f2', '<f4' and '<f8' are read (save array.astype('<f4'))",
                          name, descr);
    array->n = 1;
    for (size_t i = 0; i < array->rank; i++)
        if (!multiply(array->n, array->shape[i], &array->n))
            return kvant_fail(err, KVANT_INVALID, "%s: header: the shape is too large", name);
    size_t all;
    if (!multiply(array->n, 8, &all))
        return kvant_fail(err, KVANT_INVALID, "%s: header: the shape is too large", name);
    return KVANT_OK;
}

static kvant_status read_header(FILE *stream, const char *name, npy_array *array, size_t *size, uint64_t *offset, kvant_error *err)
{
    unsigned char start[PREAMBLE + 2];
    if (fread(start, 1, PREAMBLE, stream) != PREAMBLE || memcmp(start, magic, sizeof magic))
        return kvant_fail(err, KVANT_INVALID, "%s: not a .npy file", name);
    unsigned version = start[6];
    if (version < 1 || version > 3 || start[7])
        return kvant_fail(err, KVANT_INVALID, "%s: .npy version %u.%u is not known", name, version, start[7]);
    size_t length = start[8] | (size_t)start[9] << 8, before = PREAMBLE;
    if (version > 1) {
        if (fread(start + PREAMBLE, 1, 2, stream) != 2)
            return kvant_fail(err, KVANT_INVALID, "%s: header: cut short", name);
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
        before += 2;
    }
    if (length > HEADER_MAX)
        return kvant_fail(err, KVANT_INVALID, "%s: header: %zu bytes long, more than any array needs", name, length);
    char *header = malloc(length + 1);
    if (!header)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for its header", name);
    kvant_status status;
    if (fread(header, 1, length, stream) != length)
        status = kvant_fail(err, KVANT_INVALID, "%s: header: cut short", name);
    else if (memchr(header, '\0', length))
        status = kvant_fail(err, KVANT_INVALID, "%s: header: not a text", name);
    else {
        header[length] = '\0';
        status = parse_header(header, name, array, size, err);
    }
    free(header);
    *offset = before + length;
    return status;
}

/* ---- Reading the numbers ------------------------------------------------------------------- */

static void convert(const void *from, size_t size, size_t n, float *x)
{
    const unsigned char *p = from;
    for (size_t i = 0; i < n; i++, p += size) {
        uint16_t half;
        double wide;
        if (size == 2) {
            memcpy(&half, p, sizeof half);
            x[i] = half_to_float(half);
        } else {
            memcpy(&wide, p, sizeof wide);
            x[i] = (float)wide;
        }
    }
}

static bool read_numbers(FILE *stream, size_t size, size_t n, float *x)
{
    if (size == sizeof *x)
        return fread(x, size, n, stream) == n;
    unsigned char piece[PIECE * 8];
    for (size_t done = 0; done < n;) {
        size_t now = n - done < PIECE ? n - done : PIECE;
        if (fread(piece, size, now, stream) != now)
            return false;
        convert(piece, size, now, x + done);
        done += now;
    }
    return true;
}

kvant_status npy_read_stream(FILE *stream, uint64_t bytes, const char *name, npy_array *array, kvant_error *err)
{
    npy_array a = { 0 };
    size_t size = 0;
    uint64_t offset = 0;
    kvant_status status = read_header(stream, name, &a, &size, &offset, err);
    if (status)
        return status;
    /* Before memory is asked for: a shape that the file cannot hold never costs anything. */
    if (bytes < offset || bytes - offset != (uint64_t)a.n * size)
        return kvant_fail(err, KVANT_INVALID, "%s: its shape needs %zu bytes of numbers, and it holds %llu", name, a.n * size,
                          (unsigned long long)(bytes < offset ? 0 : bytes - offset));
    a.x = malloc(a.n ? a.n * sizeof *a.x : 1);
    if (!a.x)
        return kvant_fail(err, KVANT_NOMEM, "%s: no memory for %zu numbers", name, a.n);
    if (!read_numbers(stream, size, a.n, a.x)) {
        free(a.x);
        return kvant_fail(err, KVANT_IO, "%s: cannot read its numbers", name);
    }
    *array = a;
    return KVANT_OK;
}

kvant_status npy_read(const char *path, npy_array *array, kvant_error *err)
{
    struct stat file;
    if (stat(path, &file))
        return file_fail(err, path, "cannot open");
    if (!S_ISREG(file.st_mode))
        return kvant_fail(err, KVANT_IO, "%s: not a regular file", path);
    FILE *stream = fopen(path, "rbe");
    if (!stream)
        return file_fail(err, path, "cannot open");
    kvant_status status = npy_read_stream(stream, (uint64_t)file.st_size, path, array, err);
    fclose(stream);
    return status;
}
