/* tokenize.c - `kvant tokenize`: text on stdin, token ids on stdout, to compare with other engines.
 * The text is taken byte for byte, a newline at its end included. */
#include "harness/cli.h"
#include "harness/input/input.h"
#include "harness/lm/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kvant_status read_stdin(char **data, size_t *bytes, kvant_error *err)
{
    size_t capacity = 0;
    *data = NULL;
    *bytes = 0;
    do {
        if (*bytes == capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *grown = realloc(*data, capacity);
            if (!grown)
                return kvant_fail(err, KVANT_NOMEM, "stdin: no memory for a text of %zu bytes", capacity);
            *data = grown;
        }
        *bytes += fread(*data + *bytes, 1, capacity - *bytes, stdin);
    } while (!feof(stdin) && !ferror(stdin));
    return ferror(stdin) ? kvant_fail(err, KVANT_IO, "stdin: cannot read: %s", strerror(errno)) : KVANT_OK;
}

static int run(const cli *c)
{
    kvant_error err = {""};
    kvant_input input;
    gguf *file = NULL;
    tokenizer *tok = NULL;
    char *data = NULL;
    int32_t *ids = NULL;
    size_t bytes, n = 0;
    kvant_status status = input_find(cli_arg(c, 0), &input, &err);
    if (!status)
        status = gguf_open(input.path, &file, &err);
    if (!status)
        status = tokenizer_open(file, &tok, &err);
    if (!status)
        status = read_stdin(&data, &bytes, &err);
    if (!status)
        status = tokenizer_encode(tok, data, bytes, cli_get(c, "add-special") != NULL, cli_get(c, "parse-special") != NULL, &ids, &n,
                                  &err);
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i ? " " : "", ids[i]);
    if (!status)
        putchar('\n');
    free(ids);
    free(data);
    tokenizer_close(tok);
    gguf_close(file);
    return status ? cli_fail(c, status, &err) : cli_finish(EXIT_DONE);
}

static const cli_option options[] = {
    {"add-special", NULL, "add BOS and EOS as the file says", false},
    {"parse-special", NULL, "control tokens in the text, such as <|im_start|>, become their ids", false},
    {NULL, NULL, NULL, false},
};

const cli_command command_tokenize = {
    .name = "tokenize",
    .arguments = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "turn text on stdin into a model's token ids",
    .details = "MODEL is a name in the manifest or a GGUF file. The ids go to stdout in one line, separated by spaces. A newline at "
               "the end of the input is a part of the text.",
    .example = "# Token ids of a sentence\nprintf 'Hello, world' | kvant tokenize smollm2-135m",
    .options = options,
    .run = run,
};
