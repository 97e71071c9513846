/* word_problem.c - reads problems, writes prompts, and finds the number that a solution ends in.
 * Numbers are compared as text in one normal form, so that no rounding makes two of them equal. */
#include "harness/measure/word_problem.h"
#include "harness/util.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

static const char answer_word[] = "Answer:", problem_word[] = "Problem:";
const char word_problem_lead[] = "Steps:";

/* ---- Numbers ----------------------------------------------------------------------------------- */

static bool digit(const char *s, const char *end) { return s < end && isdigit((unsigned char)*s); }

/* Digits in a row, commas between groups of three left out, added to number[*n]. Returns what is behind them; NULL: too many. */
static const char *take_digits(const char *s, const char *end, bool groups, char number[NUMBER_TEXT], size_t *n)
{
    while (digit(s, end) || (groups && s < end && *s == ',' && digit(s + 1, end) && digit(s + 2, end) && digit(s + 3, end) &&
                             !digit(s + 4, end))) {
        if (*s != ',') {
            if (*n + 1 >= NUMBER_TEXT)
                return NULL;
            number[(*n)++] = *s;
        }
        s++;
    }
    return s;
}

/* Zeros before the first digit but one, and behind the last of a fraction. */
static void drop_zeros(char number[NUMBER_TEXT])
{
    char *first = number + (*number == '-'), *point = strchr(first, '.');
    if (point) {
        char *last = first + strlen(first);
        while (last[-1] == '0')
            last--;
        if (last[-1] == '.')
            last--;
        *last = '\0';
    }
    size_t zeros = strspn(first, "0");
    if (zeros && !isdigit((unsigned char)first[zeros]))
        zeros--;                   /* "0", "0.5" */
    memmove(first, first + zeros, strlen(first + zeros) + 1);
    if (!strcmp(number, "-0"))
        strcpy(number, "0");
}

const char *number_read(const char *s, size_t bytes, char number[NUMBER_TEXT])
{
    const char *begin = s, *end = s + bytes;
    while (s < end && !digit(s, end))
        s++;
    if (s == end)
        return NULL;
    /* "-3", "-$3", "$-3"; but "10-3" and "x-3" are no negative numbers. */
    const char *sign = s > begin ? s - 1 : NULL;
    if (sign && *sign == '$' && sign > begin)
        sign--;
    const bool minus = sign && *sign == '-' && (sign == begin || !isalnum((unsigned char)sign[-1]));
    size_t n = 0;
    if (minus)
        number[n++] = '-';
    s = take_digits(s, end, true, number, &n);
    if (s && digit(s + 1, end) && *s == '.' && n + 1 < NUMBER_TEXT) {
        number[n++] = '.';
        s = take_digits(s + 1, end, false, number, &n);
    } else if (s && digit(s + 1, end) && *s == '/' && n + 1 < NUMBER_TEXT) {
        number[n++] = '/';
        s = take_digits(s + 1, end, false, number, &n);
    }
    if (!s)
        return NULL;
    number[n] = '\0';
    drop_zeros(number);
    return s;
}

/* ---- Problems ---------------------------------------------------------------------------------- */

static kvant_status read_problem(const char *line, size_t bytes, size_t index, word_problem *out, kvant_error *err)
{
    cJSON *object = cJSON_ParseWithLength(line, bytes);
    const char *question = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "question"));
    const char *answer = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "answer")), *mark = NULL, *behind = NULL;
    for (const char *at = answer; at && (at = strstr(at, "####")); at += 4)
        mark = at + 4;
    if (mark)
        behind = number_read(mark, strlen(mark), out->number);
    kvant_status status = KVANT_OK;
    if (!question || !*question || !answer)
        status = kvant_fail(err, KVANT_INVALID, "line %zu of the data: must be a JSON object with a \"question\" and an \"answer\"; is "
                            "this GSM8K's test.jsonl?", index + 1);
    else if (!behind || behind[strspn(behind, " \n\r\t")])
        status = kvant_fail(err, KVANT_INVALID, "line %zu of the data: its answer must end in \"#### NUMBER\"", index + 1);
    else if (!(out->question = strdup(question)))
        status = kvant_fail(err, KVANT_NOMEM, "no memory for problem %zu", index + 1);
    cJSON_Delete(object);
    return status;
}

kvant_status word_problems_read(const char *lines, size_t bytes, size_t n, word_problems *out, kvant_error *err)
{
    kvant_status status = KVANT_OK;
    *out = (word_problems){ .problems = calloc(n ? n : 1, sizeof *out->problems) };
    if (!out->problems)
        return kvant_fail(err, KVANT_NOMEM, "no memory for %zu problems", n);
    for (const char *at = lines, *end = lines + bytes; at < end && out->n < n && !status;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((stop ? stop : end) - at);
        status = read_problem(at, length, out->n, &out->problems[out->n], err);
        out->n += !status;
        at += length + (stop != NULL);
    }
    if (!status && out->n < n)
        status = kvant_fail(err, KVANT_INVALID, "%zu problems are asked for, and the data has %zu", n, out->n);
    if (status)
        word_problems_free(out);
    return status;
}

void word_problems_free(word_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->problems[i].question);
    free(p->problems);
    *p = (word_problems){ 0 };
}

/* ---- Prompts ----------------------------------------------------------------------------------- */

static const char task[] = "Solve each problem step by step. The last line of a solution is the word Answer, a colon and one number.";

static const struct { const char *problem, *steps; int answer; } examples[WORD_PROBLEM_SHOTS] = {
    { "A kiosk sold 14 postcards in the morning and twice as many in the afternoon. Each postcard cost 3 euros. How many euros did the "
      "kiosk take that day?",
      "In the afternoon it sold 14 * 2 = 28 postcards. Over the day it sold 14 + 28 = 42 postcards. They brought 42 * 3 = 126 euros.", 126 },
    { "Noor has a rope of 50 metres. She cuts off 4 pieces of 7 metres each and gives half of what is left to her brother. How many metres "
      "does she keep?",
      "The pieces take 4 * 7 = 28 metres. What is left is 50 - 28 = 22 metres. Half of it is 22 / 2 = 11 metres.", 11 },
    { "A choir rehearses for 90 minutes on each of 2 evenings a week. How many hours does it rehearse in 6 weeks?",
      "In a week it rehearses 90 * 2 = 180 minutes, which is 180 / 60 = 3 hours. In 6 weeks that is 3 * 6 = 18 hours.", 18 },
    { "Of the 240 seats of a theatre 25% are on the balcony. On Friday 15 seats of the balcony stayed empty and all others were taken. How "
      "many people were in the theatre?",
      "The balcony has 240 * 25 / 100 = 60 seats, but that does not matter: of all 240 seats 15 were empty. So there were 240 - 15 = 225 "
      "people.", 225 },
    { "A gardener plants 5 rows of 12 tulips. A third of the tulips are red and the others are white. How many white tulips are there?",
      "There are 5 * 12 = 60 tulips. A third of them is 60 / 3 = 20. The white ones are 60 - 20 = 40.", 40 },
    { "Mika is 8 years older than Ada. In 4 years their ages will add up to 40. How old is Ada now?",
      "In 4 years both are 4 years older, so now their ages add up to 40 - 2 * 4 = 32. Without the 8 years that Mika is older, 32 - 8 = 24 "
      "is twice Ada's age. Ada is 24 / 2 = 12.", 12 },
    { "A printer needs 3 seconds for a page. It prints 5 copies of a booklet of 24 pages. How many minutes does that take?",
      "There are 5 * 24 = 120 pages. They take 120 * 3 = 360 seconds. That is 360 / 60 = 6 minutes.", 6 },
    { "Tea costs 4 dollars a box and coffee 9 dollars a bag. Lior buys 6 boxes and 2 bags and pays with a note of 50 dollars. How much "
      "change does he get?",
      "The tea costs 6 * 4 = 24 dollars. The coffee costs 2 * 9 = 18 dollars. Together that is 24 + 18 = 42 dollars. The change is 50 - 42 = "
      "8 dollars.", 8 },
};

char *word_problem_prompt(size_t shots, const char *question)
{
    text t = { 0 };
    text_add(&t, "%s\n\n", task);
    for (size_t i = 0; i < shots && i < WORD_PROBLEM_SHOTS; i++)
        text_add(&t, "%s %s\n%s %s\n%s %d\n\n", problem_word, examples[i].problem, word_problem_lead, examples[i].steps, answer_word,
                 examples[i].answer);
    text_add(&t, "%s %s\n", problem_word, question);
    if (t.failed)
        text_free(&t);
    return t.data;
}

/* ---- Answers ----------------------------------------------------------------------------------- */

bool word_problem_solved(const char *solution)
{
    const char *answer = strstr(solution, answer_word), *next = strstr(solution, problem_word);
    return (answer && strchr(answer, '\n')) || (next && next > solution && next[-1] == '\n');
}

bool word_problem_answer(const char *solution, char number[NUMBER_TEXT])
{
    const char *answer = strstr(solution, answer_word), *next = strstr(solution, problem_word);
    if (!answer || (next && next < answer))
        return false;
    answer += strlen(answer_word);
    return number_read(answer, strcspn(answer, "\n"), number) != NULL;
}
