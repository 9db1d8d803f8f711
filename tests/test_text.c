/* Texts: what becomes a token, what is refused, vocabularies as they stand in checkpoints, and which windows an epoch
 * has. */
#include "../engine/dataset.h"
#include "../engine/feed.h"
#include "scratch.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static bd_dataset *load(const char *name, bd_tokens tokens)
{
    bd_dataset *data = NULL;
    bd_error error = { 0 };
    const bd_dataset_params params = { .name = scratch_path(name), .tokens = tokens };
    ck_assert_msg(bd_dataset_load(&params, &data, &error) == BD_OK, "%s", error.message);
    return data;
}

static void expect_refused(const char *name, bd_tokens tokens, bd_status wanted, const char *part)
{
    bd_dataset *data = NULL;
    bd_error error = { 0 };
    const bd_dataset_params params = { .name = scratch_path(name), .tokens = tokens };
    ck_assert_int_eq(bd_dataset_load(&params, &data, &error), wanted);
    ck_assert_ptr_null(data);
    ck_assert_msg(strstr(error.message, name) && strstr(error.message, part), "%s", error.message);
}

/* The whole text again, from its tokens. */
static void expect_text(const bd_dataset *data, const char *text)
{
    for (int part = 0; part < 2; part++) {
        const bd_examples *examples = part ? &data->test : &data->train;
        for (int64_t i = 0; i < examples->count; i++) {
            ck_assert_int_lt(examples->images[i], data->classes);
            const char *name = data->class_names[examples->images[i]];
            ck_assert_msg(!strncmp(text, name, strlen(name)), "part %d, token %d: '%s' where '%s' is", part, (int)i,
                          name, text);
            text += strlen(name);
        }
    }
    ck_assert_str_eq(text, "");
}

static const char mixed[] =
    "a\xc3\xa9z\n\xe2\x82\xac \xf0\x9f\x98\x80za\n"; /* a é z newline € space, a smile, z a newline: 10 */

START_TEST(characters_are_tokens)
{
    scratch_write("t", mixed, strlen(mixed));
    bd_dataset *data = load("t", BD_TOKENS_NONE);
    ck_assert_int_eq(data->tokens, BD_TOKENS_CHARACTERS);
    ck_assert_int_eq(data->train.count, 9);
    ck_assert_int_eq(data->test.count, 1);
    ck_assert_ptr_null(data->train.labels);
    static const char *const names[] = { "\n", " ", "a", "z", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
    ck_assert_int_eq(data->classes, 7);
    for (int i = 0; i < 7; i++)
        ck_assert_str_eq(data->class_names[i], names[i]);
    expect_text(data, mixed);
    ck_assert_int_eq(bd_dataset_train_examples(data, 4), 2); /* 8 of 9 tokens, since each has a next one */
    ck_assert_int_eq(bd_dataset_train_examples(data, 9), 0);
    ck_assert_int_eq(bd_dataset_test_examples(data, 1), 0);
    bd_dataset_close(&data);
}
END_TEST

START_TEST(bytes_are_tokens)
{
    scratch_write("t", mixed, strlen(mixed));
    bd_dataset *data = load("t", BD_TOKENS_BYTES);
    ck_assert_int_eq(data->tokens, BD_TOKENS_BYTES);
    ck_assert_int_eq(data->train.count + data->test.count, (int64_t)strlen(mixed));
    expect_text(data, mixed);
    bd_dataset_close(&data);
    /* No UTF-8, and yet a text for those who want bytes. */
    scratch_write("latin", "\xe9t\xe9 \xff", 5);
    data = load("latin", BD_TOKENS_BYTES);
    ck_assert_int_eq(data->classes, 4);
    expect_text(data, "\xe9t\xe9 \xff");
    bd_dataset_close(&data);
}
END_TEST

START_TEST(what_is_no_text_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } bad[] = {
        { "", 0, "empty" },
        { "ab\0c", 4, "position 2" },
        { "ab\xff", 3, "0xff at position 2" },   /* never in UTF-8 */
        { "\xc3", 1, "position 0" },             /* cut */
        { "a\xc3z", 3, "position 1" },           /* goes on wrongly */
        { "\xc0\xaf", 2, "position 0" },         /* longer than need be */
        { "\xe0\x80\xaf", 3, "position 0" },     /* the same */
        { "\xed\xa0\x80", 3, "position 0" },     /* half of a surrogate pair */
        { "\xf4\x90\x80\x80", 4, "position 0" }, /* beyond Unicode */
        { "\x80", 1, "position 0" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_write("bad", bad[i].bytes, bad[i].size);
        expect_refused("bad", BD_TOKENS_NONE, BD_ERROR_DATA, bad[i].says);
    }
    scratch_write("bad", "ab\0c", 4);
    expect_refused("bad", BD_TOKENS_BYTES, BD_ERROR_DATA, "position 2");
    /* 257 characters of two bytes each. */
    char many[2 * 257];
    for (int i = 0; i < 257; i++) {
        many[2 * i] = (char)(0xc4 + i / 64);
        many[2 * i + 1] = (char)(0x80 + i % 64);
    }
    scratch_write("many", many, sizeof many);
    expect_refused("many", BD_TOKENS_NONE, BD_ERROR_DATA, "257 different characters");
    scratch_write("many", many, sizeof many - 2);
    bd_dataset *data = load("many", BD_TOKENS_NONE);
    ck_assert_int_eq(data->classes, 256);
    bd_dataset_close(&data);
}
END_TEST

static void expect_round_trip(bd_tokens tokens, char *const *names, int64_t count)
{
    char *text = bd_vocabulary_write(tokens, names, count), **again = NULL;
    int64_t found = 0;
    bd_error error = { 0 };
    ck_assert_ptr_nonnull(text);
    ck_assert_msg(bd_vocabulary_read("v", tokens, text, &again, &found, &error) == BD_OK, "%s", error.message);
    ck_assert_int_eq(found, count);
    for (int64_t i = 0; i < count; i++) {
        ck_assert_str_eq(again[i], names[i]);
        free(again[i]);
    }
    free(again);
    free(text);
}

START_TEST(vocabularies_are_written_and_read)
{
    expect_round_trip(BD_TOKENS_CHARACTERS, (char *[]){ "\n", "a", "\xc3\xa9", "\xf0\x9f\x98\x80" }, 4);
    char bytes[255][2], *names[255];
    for (int i = 0; i < 255; i++) {
        bytes[i][0] = (char)(i + 1);
        bytes[i][1] = '\0';
        names[i] = bytes[i];
    }
    expect_round_trip(BD_TOKENS_BYTES, names, 255);
    static const struct {
        bd_tokens tokens;
        const char *text;
    } bad[] = { { BD_TOKENS_CHARACTERS, "" },
                { BD_TOKENS_CHARACTERS, "ba" },
                { BD_TOKENS_CHARACTERS, "aa" },
                { BD_TOKENS_CHARACTERS, "a\xff" },
                { BD_TOKENS_BYTES, "a\xe2\x82\xac" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char **again;
        int64_t found;
        bd_error error = { 0 };
        ck_assert_int_eq(bd_vocabulary_read("v", bad[i].tokens, bad[i].text, &again, &found, &error), BD_ERROR_DATA);
        ck_assert_ptr_null(again);
        ck_assert_msg(strstr(error.message, "v:") == error.message, "%s", error.message);
    }
    ck_assert_int_eq(bd_tokens_from_name("byte"), BD_TOKENS_BYTES);
    ck_assert_int_eq(bd_tokens_from_name(bd_tokens_name(BD_TOKENS_CHARACTERS)), BD_TOKENS_CHARACTERS);
    ck_assert_int_eq(bd_tokens_from_name("word"), BD_TOKENS_NONE);
}
END_TEST

/* Windows of training may begin anywhere, also at the last place that has a token behind the window; all about as
 * often. */
START_TEST(windows_are_drawn_evenly)
{
    enum { DRAWN = 16384, CHOICES = 64 };
    static uint32_t order[DRAWN], again[DRAWN];
    int often[CHOICES] = { 0 };
    bd_feed_draw(7, 3, order, DRAWN, CHOICES);
    bd_feed_draw(7, 3, again, DRAWN, CHOICES);
    ck_assert_int_eq(memcmp(order, again, sizeof order), 0);
    bd_feed_draw(7, 4, again, DRAWN, CHOICES);
    ck_assert_int_ne(memcmp(order, again, sizeof order), 0);
    for (int i = 0; i < DRAWN; i++) {
        ck_assert_uint_lt(order[i], CHOICES);
        often[order[i]]++;
    }
    /* 256 each, six deviations of 16. */
    for (int i = 0; i < CHOICES; i++)
        ck_assert_msg(abs(often[i] - 256) < 96, "%d came %d times", i, often[i]);
}
END_TEST

START_TEST(texts_are_streamed)
{
    const bd_dataset data = { .tokens = BD_TOKENS_BYTES,
                              .height = 1,
                              .width = 1,
                              .channels = 1,
                              .train = { .count = 1001 },
                              .test = { .count = 101 } };
    bd_feed_shape train, test;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_feed_decide(&(bd_limits){ 0 }, 0, false, &data, 10, 4, &train, &test, &error), BD_OK);
    ck_assert(train.count == 100 && train.row_bytes == 11 && train.stride == 1 && train.choices == 991 &&
              !train.labelled);
    ck_assert(test.count == 10 && test.stride == 10 && test.choices == 10);
    ck_assert_int_gt(train.half, 0);
    ck_assert_int_eq(train.half % 4, 0);
    ck_assert_int_le(train.half * train.row_bytes, 1 << 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");
    tcase_add_checked_fixture(tests, scratch_create, scratch_remove);
    tcase_add_test(tests, characters_are_tokens);
    tcase_add_test(tests, bytes_are_tokens);
    tcase_add_test(tests, what_is_no_text_is_refused);
    tcase_add_test(tests, vocabularies_are_written_and_read);
    tcase_add_test(tests, windows_are_drawn_evenly);
    tcase_add_test(tests, texts_are_streamed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
