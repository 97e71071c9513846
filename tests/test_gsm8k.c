/* test_gsm8k.c - word problems: numbers as text, problems from JSON lines, answers found or missed, and the probe on tiny models whose
 * solutions are known or done again one by one. */
#include "harness/lm/generate.h"
#include "harness/measure/word_problem.h"
#include "tests/model_runs.h"
#include "tests/scratch.h"

static void numbers(void **state)
{
    (void)state;
    static const struct { const char *in, *out; } cases[] = {
        { "18", "18" },           { " is $1,250.50 dollars", "1250.5" }, { "-3", "-3" },        { "x = -$3.00", "-3" }, { "$-7", "-7" },
        { "10-3", "10" },         { "007", "7" },                        { "0.50", "0.5" },     { "-0.0", "0" },        { "0", "0" },
        { "100", "100" },         { "1,2", "1" },                        { "1,2345", "1" },     { "12,345,678", "12345678" },
        { "18.", "18" },          { "18 eggs and 4 hens", "18" },        { "1/2", "1/2" },      { "3.", "3" },          { "00.10", "0.1" },
        { "2.500 km", "2.5" },    { "9007199254740993", "9007199254740993" },
        { "none", NULL },         { "", NULL },                          { "-", NULL },
        { "1111111111222222222233333333334444444444", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char number[NUMBER_TEXT];
        const char *end = number_read(cases[i].in, strlen(cases[i].in), number);
        assert_int_equal(end != NULL, cases[i].out != NULL);
        if (end)
            assert_string_equal(number, cases[i].out);
    }
    /* No byte beyond the text is looked at. */
    char number[NUMBER_TEXT], *exact = malloc(3);
    assert_non_null(exact);
    memcpy(exact, "1,2", 3);
    assert_ptr_equal(number_read(exact, 3, number), exact + 1);
    memcpy(exact, "12.", 3);
    assert_ptr_equal(number_read(exact, 3, number), exact + 2);
    free(exact);
}

static void answers(void **state)
{
    (void)state;
    static const struct { const char *solution, *number; bool solved; } cases[] = {
        { " 3 + 4 = 7.\nAnswer: 7\n", "7", true },
        { " 3 + 4 = 7.\nAnswer: 7", "7", false },
        { " so\nAnswer: it is $1,200.\n\nProblem: 8", "1200", true },
        { " so it is 7\n\nProblem: next\nSteps: x\nAnswer: 9\n", NULL, true },
        { " so it is 7", NULL, false },
        { " so\nAnswer:\n7", NULL, true },
        { " so\nAnswer: seven\n", NULL, true },
        { " the Problem: is hard", NULL, false },
        { "", NULL, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char number[NUMBER_TEXT];
        assert_int_equal(word_problem_solved(cases[i].solution), cases[i].solved);
        assert_int_equal(word_problem_answer(cases[i].solution, number), cases[i].number != NULL);
        if (cases[i].number)
            assert_string_equal(number, cases[i].number);
    }
}

#define LINE(question, answer) "{\"question\": \"" question "\", \"answer\": \"" answer "\"}\n"

static void problems_are_read(void **state)
{
    (void)state;
    static const char lines[] = LINE("Two and two?", "2 + 2 = <<2+2=4>>4\\n#### 4") LINE("A \\u201cdozen\\u201d?", "####x\\n#### 1,012")
                                "not looked at";
    word_problems p;
    assert_ok(word_problems_read(lines, strlen(lines), 2, &p, err));
    assert_string_equal(p.problems[0].question, "Two and two?");
    assert_string_equal(p.problems[0].number, "4");
    assert_string_equal(p.problems[1].question, "A \xe2\x80\x9c" "dozen\xe2\x80\x9d?");
    assert_string_equal(p.problems[1].number, "1012");
    word_problems_free(&p);
    assert_fails(word_problems_read(lines, strlen(lines), 3, &p, err), KVANT_INVALID, "line 3 of the data: must be a JSON object");
    static const struct { const char *lines, *message; } wrong[] = {
        { LINE("one", "#### 1"), "2 problems are asked for, and the data has 1" },
        { LINE("one", "1"), "line 1 of the data: its answer must end" },
        { LINE("one", "#### 1 or 2"), "line 1 of the data: its answer must end" },
        { LINE("one", "#### "), "line 1 of the data: its answer must end" },
        { LINE("", "#### 1"), "line 1 of the data: must be" },
        { LINE("one", "#### 1") "[]\n", "line 2 of the data: must be" },
        { LINE("one", "#### 1") "\n", "line 2 of the data: must be" },
        { "{\"question\": 3, \"answer\": \"#### 1\"}\n", "line 1 of the data: must be" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(word_problems_read(wrong[i].lines, strlen(wrong[i].lines), 2, &p, err), KVANT_INVALID, wrong[i].message);
}

/* What the worked examples show is what is looked for, and their arithmetic holds. */
static void examples_are_right(void **state)
{
    (void)state;
    char *prompt = word_problem_prompt(WORD_PROBLEM_SHOTS, "How many?"), *none = word_problem_prompt(0, "How many?");
    assert_non_null(prompt);
    assert_non_null(none);
    size_t examples = 0, sums = 0;
    for (const char *at = prompt; (at = strstr(at, word_problem_lead)); examples++) {
        char number[NUMBER_TEXT];
        at += strlen(word_problem_lead);
        assert_true(word_problem_solved(at));
        assert_true(word_problem_answer(at, number));
        /* The last number of the steps is the answer. */
        const char *end = strstr(at, "\nAnswer:"), *next = at;
        char said[NUMBER_TEXT] = "";
        for (char one[NUMBER_TEXT]; next && (next = number_read(next, (size_t)(end - next), one));)
            strcpy(said, one);
        assert_string_equal(said, number);
    }
    assert_int_equal(examples, WORD_PROBLEM_SHOTS);
    for (const char *at = prompt; (at = strstr(at, " = ")); at += 3, sums++) {
        const char *left = at;
        while (left > prompt && strchr("0123456789+-*/ ", left[-1]))
            left--;
        double value = 0, term = 0;
        char sum = '+', product = 0;
        for (char *next = NULL; left < at; left = next) {           /* products before sums */
            left += strspn(left, " ");
            double x = strtod(left, &next);
            assert_ptr_not_equal(next, left);
            term = product == '*' ? term * x : product == '/' ? term / x : x;
            next += strspn(next, " ");
            product = *next == '*' || *next == '/' ? *next : 0;
            if (!product) {
                value += sum == '-' ? -term : term;
                sum = *next;
            }
            next += next < at;
        }
        assert_near(strtod(at + 3, NULL), value, 0);
    }
    assert_true(sums >= 15);
    assert_null(strstr(none, word_problem_lead));
    assert_non_null(strstr(none, "Problem: How many?\n"));
    free(prompt);
    free(none);
}

/* ---- The probe --------------------------------------------------------------------------------- */

static const char six[] = LINE("Three and four?", "#### 7") LINE("Nine less two?", "#### 7") LINE("One and one?", "#### 2")
                          LINE("Seven times one?", "#### 7") LINE("Four and four?", "#### 8") LINE("How many days has a week?", "#### 7");

static void run_six(const char *args, lm_model *model, const kvcache_codecs *codecs, size_t n_cells, probe_run *run)
{
    union { const char *in; char *out; } lines = { .in = six };
    const kvant_data data = { .text = lines.out, .bytes = strlen(six) };
    probe_job job = job_of(probe_of("gsm8k"), args, model, codecs, n_cells);
    job.data = &data;
    run_ok(probe_of("gsm8k"), &job, run);
}

/* "Steps:" is followed by a 7 and an answer of 7, whatever was asked: four of six are right, which is also the floor. */
static void a_model_that_says_seven(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .says = ":7\nAnswer:" });
    kvcache_codecs codecs[2] = { open_codecs(model, "f16", "", "f16", ""),
                                 open_codecs(model, "affine", "bits=4,group_size=16", "f16", "") };
    for (int chat = 0; chat < 2; chat++) {
        probe_run run;
        run_six(chat ? "problems=6,shots=1,lockstep=4,format=chat" : "problems=6,shots=1,lockstep=4", model, codecs, 2, &run);
        for (size_t c = 0; c < 2; c++) {
            const cell_run *r = &run.cells[c];
            assert_near(value_of(r, "gsm8k_accuracy"), 4 / 6., 1e-15);
            assert_near(value_of(r, "gsm8k_floor"), 4 / 6., 1e-15);
            assert_near(result_of(r, "gsm8k_accuracy")->n, 6, 0);
            assert_near(value_of(r, "format_failures"), 0, 0);
            assert_near(value_of(r, "unfinished"), 0, 0);
            assert_near(value_of(r, "answer_agreement"), 1, 0);
            assert_near(value_of(r, "gsm8k_sign_p"), 1, 0);
            assert_near(value_of(r, "tokens_produced"), (double)strlen("7\nAnswer:7\n"), 0);
        }
        run_free(&run);
    }
    for (size_t i = 0; i < 2; i++)
        kvcache_codecs_close(&codecs[i]);
    lm_close(model);
}

/* Random weights solve nothing; lockstep or one by one, a prefill in one step or many, the solutions are the model's own. */
static void lockstep_changes_nothing(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .bos = true, .ends = true });
    kvcache_codecs codecs[2] = { open_codecs(model, "affine", "bits=2,group_size=16", "affine", "bits=2,group_size=16"),
                                 open_codecs(model, "f16", "", "f16", "") };
    probe_run together, apart;
    run_six("problems=6,shots=0,tokens=40,lockstep=4", model, codecs, 2, &together);
    run_six("problems=6,shots=0,tokens=40,lockstep=1,batch=32", model, codecs, 2, &apart);
    for (size_t c = 0; c < 2; c++) {
        assert_int_equal(together.cells[c].n, apart.cells[c].n);
        assert_near(value_of(&together.cells[c], "tokens_produced"), value_of(&apart.cells[c], "tokens_produced"), 0);
        assert_near(value_of(&together.cells[c], "format_failures"), 1, 0);
        assert_near(value_of(&together.cells[c], "gsm8k_accuracy"), 0, 0);
    }
    /* Each solution has the length of the model's own greedy one. */
    char *prompt = word_problem_prompt(0, "Three and four?"), *begun = text_format("%s%s", prompt, word_problem_lead);
    int32_t *ids = NULL, out[40];
    size_t n = 0, written = 0;
    assert_ok(tokenizer_encode(lm_tokenizer(model, NULL), begun, strlen(begun), true, false, &ids, &n, err));
    assert_int_equal(ids[0], TINY_BOS);
    float *logits = malloc(lm_model_shape(model)->n_vocab * sizeof *logits);
    kvcache *cache;
    assert_ok(kvcache_open(&codecs[0], (uint32_t)n + 40, &cache, err));
    assert_ok(lm_prefill(model, cache, ids, n, 512, logits, err));
    assert_ok(lm_greedy(model, cache, logits, 40, out, &written, err));
    for (size_t i = 0; i < together.cells[0].n; i++) {
        const probe_sample *s = &together.cells[0].samples[i];
        if (s->chunk == 0 && !strcmp(s->metric, "tokens_produced"))
            assert_near(s->value, (double)written, 0);
        if (s->chunk == 0 && !strcmp(s->metric, "prompt_tokens"))
            assert_near(s->value, (double)n, 0);
        if (s->chunk == 0 && !strcmp(s->metric, "unfinished"))
            assert_near(s->value, written == 40, 0);
    }
    kvcache_close(cache);
    free(logits);
    free(ids);
    free(begun);
    free(prompt);
    run_free(&together);
    run_free(&apart);
    for (size_t i = 0; i < 2; i++)
        kvcache_codecs_close(&codecs[i]);
    lm_close(model);
}

/* Ten problems: f16 solved 0 to 5, this cache 0 to 3, 8 and 9: two lost, two won. And one with 6 lost alone. */
static void results_are_of_the_samples(void **state)
{
    (void)state;
    static const double against[2][10] = { { 0, 0, 0, 0, -1, -1, 0, 0, 1, 1 }, { -1, -1, -1, -1, -1, -1, 0, 0, 0, 0 } };
    static const double p[2] = { 1, 2 / 64. }, right[2] = { 6, 0 };
    for (int k = 0; k < 2; k++) {
        static const char *const names[] = { "answer_agreement", "format_failures", "gsm8k_accuracy", "gsm8k_against_f16", "gsm8k_floor",
                                             "prompt_tokens", "tokens_produced", "unfinished" };
        probe_sample samples[80];
        size_t n = 0;
        for (size_t m = 0; m < 8; m++)
            for (uint32_t i = 0; i < 10; i++) {
                const double value = m == 3 ? against[k][i] : m == 2 ? (i < right[k]) : m >= 5 ? 10 + i : i == 0;
                samples[n++] = (probe_sample){ names[m], i, 0, value, 1 };
            }
        cell_run run = { .n_results = 0 };
        const kvant_args args = kvant_defaults(probe_of("gsm8k")->params);
        assert_ok(probe_of("gsm8k")->finish(&args, samples, n, run_result, &run, err));
        assert_near(value_of(&run, "gsm8k_sign_p"), p[k], 1e-15);
        assert_near(value_of(&run, "gsm8k_accuracy"), right[k] / 10, 0);
        assert_near(value_of(&run, "format_failures"), 0.1, 0);
        assert_near(result_of(&run, "format_failures")->hi, 0.4041500, 1e-6);            /* Wilson's 1 of 10 */
        assert_near(value_of(&run, "tokens_produced"), 14.5, 1e-12);
        assert_fails(probe_of("gsm8k")->finish(&args, samples, 0, run_result, &run, err), KVANT_FAILED, "no problem");
    }
}

static void what_cannot_be_asked(void **state)
{
    (void)state;
    lm_model *model = open_model((tiny_options){ .bos = false });
    kvcache_codecs codecs = open_codecs(model, "f16", "", "f16", "");
    union { const char *in; char *out; } lines = { .in = six };
    const kvant_data data = { .text = lines.out, .bytes = strlen(six) };
    static const struct { const char *args, *message; } cases[] = {
        { "problems=7", "7 problems are asked for, and the data has 6; lower problems, or get the data by `kvant fetch gsm8k`" },
        { "problems=6,prompt_tokens=200", "the prompt of problem 1 has" },
    };
    const kvant_probe *p = probe_of("gsm8k");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        probe_run run;
        probe_job job = job_of(p, cases[i].args, model, &codecs, 1);
        job.data = &data;
        assert_fails(run_probe(p, &job, &run, err), KVANT_INVALID, cases[i].message);
        run_free(&run);
    }
    probe_run run;
    probe_job job = job_of(p, "problems=1", model, &codecs, 1);     /* prose */
    assert_fails(run_probe(p, &job, &run, err), KVANT_INVALID, "is this GSM8K's test.jsonl?");
    run_free(&run);
    /* The estimate grows with what is asked, and a context holds prompt and solution. */
    const kvant_args args = job.args;
    kvant_args more = args;
    more.v[0] = 6;
    assert_near(p->context(&args), 1024 + 256, 0);
    const double one = p->cost(&args, &data), all = p->cost(&more, &data);
    assert_true(all > 5.9 * one && all < 6.1 * one && one > 128 + 200 && one < 1024 + 256);
    kvcache_codecs_close(&codecs);
    lm_close(model);
}

/* The real file, where it is at hand. */
static void the_real_problems(void **state)
{
    (void)state;
    char *lines = NULL;
    size_t bytes = 0;
    for (const char *p = getenv("KVANT_DATA"); p && *p && !lines;) {
        const size_t n = strcspn(p, ":");
        char *path = text_format("%.*s/gsm8k/test.jsonl", (int)n, p);
        if (file_read(path, &lines, &bytes, NULL))
            lines = NULL;
        free(path);
        p += n + (p[n] == ':');
    }
    if (!lines) {
        print_message("no gsm8k/test.jsonl in a folder of KVANT_DATA\n");
        skip();
    }
    word_problems p;
    assert_ok(word_problems_read(lines, bytes, 1319, &p, err));
    assert_string_equal(p.problems[0].number, "18");
    assert_string_equal(p.problems[2].number, "70000");
    word_problems_free(&p);
    free(lines);
}

int main(void)
{
    words_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers), cmocka_unit_test(answers), cmocka_unit_test(problems_are_read), cmocka_unit_test(examples_are_right),
        cmocka_unit_test(a_model_that_says_seven), cmocka_unit_test(lockstep_changes_nothing), cmocka_unit_test(results_are_of_the_samples),
        cmocka_unit_test(what_cannot_be_asked), cmocka_unit_test(the_real_problems),
    };
    int code = cmocka_run_group_tests(tests, NULL, NULL);
    words_close();
    return code;
}
