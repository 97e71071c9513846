/* chat.h - how a chat model wants to be addressed: its family, recognised from the file, and the tokens around a message.
 * Nothing is guessed from a model's name, and a file that matches no family is not addressed at all. */
#ifndef KVANT_CHAT_H
#define KVANT_CHAT_H

#include "harness/lm/tokenizer.h"

/* The family of the file's template ("chatml", "llama3", ...); NULL: none that is known. Opens no tokenizer. */
const char *chat_family(const gguf *file);
/* The known families, for messages. */
void chat_families(char *text, size_t bytes);

/* One message of a user and the head of the answer's turn, with BOS where the template puts one; `answer`, when not NULL, is the text
 * that the answer begins with. Special tokens count in the template's own text only. *ids is freed by the caller. KVANT_SKIP: no known
 * family, or a vocabulary without the special tokens of its family. */
kvant_status chat_encode(const gguf *file, const tokenizer *tokenizer, const char *user, const char *answer, int32_t **ids, size_t *n,
                         kvant_error *err);

#endif
