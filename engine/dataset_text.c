/* Texts: a file becomes a row of tokens, each the number of a character or of a byte in the file's own vocabulary. */
#include "dataset.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEST_PART = 10,          /* of the text: its last tenth, as nanoGPT has it */
    CODE_POINTS = 0x110000,  /* of Unicode */
    CHARACTER_BYTES = 4 + 1, /* in UTF-8, terminated */
};

/* ---- UTF-8 ---- */

size_t bd_utf8_character(const uint8_t *bytes, size_t size, uint32_t *code)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800,
                                      0x10000 }; /* what needs so many bytes: no longer form is right */
    if (size == 0)
        return 0;
    const uint8_t first = bytes[0];
    const size_t length = first < 0x80 ? 1 : first >> 5 == 0x6 ? 2 : first >> 4 == 0xe ? 3 : first >> 3 == 0x1e ? 4 : 0;
    if (length == 0 || length > size)
        return 0;
    uint32_t value = length == 1 ? first : first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] >> 6 != 0x2)
            return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (value < least[length] || value >= CODE_POINTS || (value >= 0xd800 && value < 0xe000))
        return 0;
    *code = value;
    return length;
}

static size_t write_character(uint32_t code, char text[CHARACTER_BYTES])
{
    const size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        text[i] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)(marks[length] | code);
    text[length] = '\0';
    return length;
}

/* ---- vocabularies ---- */

static const char *const token_names[] = { "", "char", "byte" };

const char *bd_tokens_name(bd_tokens tokens)
{
    return token_names[tokens];
}

bd_tokens bd_tokens_from_name(const char *name)
{
    for (int i = BD_TOKENS_CHARACTERS; i <= BD_TOKENS_BYTES; i++)
        if (!strcmp(name, token_names[i]))
            return (bd_tokens)i;
    return BD_TOKENS_NONE;
}

/* What a token of that number of a character or a byte stands for; returns its length. */
static size_t name_token(bd_tokens tokens, uint32_t code, char name[CHARACTER_BYTES])
{
    if (tokens == BD_TOKENS_CHARACTERS)
        return write_character(code, name);
    name[0] = (char)code;
    name[1] = '\0';
    return 1;
}

char *bd_vocabulary_write(bd_tokens tokens, char *const *names, int64_t count)
{
    bd_text text = { 0 };
    for (int64_t i = 0; i < count; i++) {
        char byte[CHARACTER_BYTES];
        if (tokens == BD_TOKENS_BYTES)
            bd_text_append_raw(&text, byte, write_character((unsigned char)names[i][0], byte));
        else
            bd_text_append_raw(&text, names[i], strlen(names[i]));
    }
    if (!text.failed && text.data)
        return text.data;
    bd_text_finish(&text);
    return NULL;
}

bd_status bd_vocabulary_read(const char *source, bd_tokens tokens, const char *text, char ***names, int64_t *count,
                             bd_error *error)
{
    const size_t size = strlen(text);
    char name[CHARACTER_BYTES];
    uint32_t code, before = 0;
    *count = 0;
    *names = calloc(BD_MOST_TOKENS, sizeof **names);
    bd_status status = *names ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    for (size_t at = 0, length; at < size && !status; at += length, before = code) {
        length = bd_utf8_character((const uint8_t *)text + at, size - at, &code);
        if (length == 0 || code <= before || *count == BD_MOST_TOKENS ||
            (tokens == BD_TOKENS_BYTES && code > UINT8_MAX))
            status =
                bd_fail(error, BD_ERROR_DATA, "%s: its vocabulary is not one of %s tokens, in order and at most %d",
                        source, bd_tokens_name(tokens), BD_MOST_TOKENS);
        else if (name_token(tokens, code, name), !((*names)[*count] = strdup(name)))
            status = bd_fail(error, BD_ERROR_MEMORY, "out of memory");
        else
            ++*count;
    }
    if (!status && *count == 0)
        status = bd_fail(error, BD_ERROR_DATA, "%s: its vocabulary is empty", source);
    for (int64_t i = 0; status && *names && i < *count; i++)
        free((*names)[i]);
    if (status) {
        free(*names);
        *names = NULL;
    }
    return status;
}

/* ---- files ---- */

static bd_status read_file(const char *path, const bd_dataset_params *params, uint8_t **data, size_t *size,
                           bd_error *error)
{
    enum { PIECE = 1 << 20 };
    FILE *file = fopen(path, "rbe");
    if (!file)
        return bd_fail(error, BD_ERROR_FILE, "%s: cannot open: %s", path, strerror(errno));
    (void)fseek(file, 0, SEEK_END);
    const long end = ftell(file);
    rewind(file);
    bd_status status = end < 0 ? bd_fail(error, BD_ERROR_FILE, "%s: cannot read: %s", path, strerror(errno)) : BD_OK;
    *size = 0;
    const size_t whole = end > 0 ? (size_t)end : 0;
    *data = malloc(whole + 1);
    if (!status && !*data)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory for %s", path);
    while (!status && *size < whole) {
        const size_t left = whole - *size, got = fread(*data + *size, 1, left < PIECE ? left : PIECE, file);
        *size += got;
        if (got == 0)
            status = bd_fail(error, BD_ERROR_FILE, "%s: cannot read: %s", path,
                             ferror(file) ? strerror(errno) : "it ended while it was read");
        else if (params->on_progress)
            params->on_progress(params->user, "read", (double)*size / (double)whole);
    }
    (void)fclose(file);
    return status;
}

/* The next character or byte; its length, or 0 where there is no such thing. */
static size_t next(bd_tokens tokens, const uint8_t *data, size_t size, uint32_t *code)
{
    *code = data[0];
    const size_t length = tokens == BD_TOKENS_BYTES ? 1 : bd_utf8_character(data, size, code);
    return *code == 0 ? 0 : length;
}

/* Marks in `seen` what occurs, and counts the tokens. */
static bd_status survey(const char *path, bd_tokens tokens, const uint8_t *data, size_t size, uint8_t *seen,
                        int64_t *count, bd_error *error)
{
    *count = 0;
    for (size_t at = 0, length; at < size; at += length, ++*count) {
        uint32_t code;
        length = next(tokens, data + at, size - at, &code);
        if (length == 0)
            return bd_fail(error, BD_ERROR_DATA, "%s: no archive, and no text: byte 0x%02x at position %zu is not %s",
                           path, data[at], at, data[at] ? "UTF-8 (tokens of bytes may be any but 0)" : "text");
        seen[code] = 1;
    }
    return *count ? BD_OK
                  : bd_fail(error, BD_ERROR_DATA, "%s: the file is empty: a text to learn from is wanted", path);
}

/* Numbers what occurs, in order: `number` becomes the token of each. */
static bd_status make_vocabulary(const char *path, const uint8_t *seen, uint8_t *number, bd_dataset *dataset,
                                 bd_error *error)
{
    char texts[BD_MOST_TOKENS][CHARACTER_BYTES];
    const char *names[BD_MOST_TOKENS];
    int64_t count = 0;
    for (uint32_t code = 0; code < CODE_POINTS; code++) {
        if (seen[code] && count < BD_MOST_TOKENS) {
            name_token(dataset->tokens, code, texts[count]);
            names[count] = texts[count];
            number[code] = (uint8_t)count;
        }
        count += seen[code];
    }
    if (count > BD_MOST_TOKENS)
        return bd_fail(error, BD_ERROR_DATA,
                       "%s: %lld different characters, at most %d are possible: take bytes for tokens", path,
                       (long long)count, BD_MOST_TOKENS);
    return bd_dataset_set_classes(dataset, names, count, error);
}

static bd_status allocate(bd_examples *examples, int64_t count, bd_error *error)
{
    examples->count = count;
    examples->images = malloc(count ? (size_t)count : 1);
    return examples->images ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for %lld tokens", (long long)count);
}

static void tokenize(bd_dataset *dataset, const uint8_t *data, size_t size, const uint8_t *number)
{
    int64_t i = 0;
    for (size_t at = 0; at < size; i++) {
        uint32_t code;
        at += next(dataset->tokens, data + at, size - at, &code);
        bd_examples *part = i < dataset->train.count ? &dataset->train : &dataset->test;
        part->images[part == &dataset->train ? i : i - dataset->train.count] = number[code];
    }
}

bd_status bd_text_load(const char *path, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error)
{
    uint8_t *data = NULL, *seen = calloc(CODE_POINTS, 1), *number = malloc(CODE_POINTS);
    size_t size = 0;
    int64_t count = 0;
    dataset->tokens = params->tokens ? params->tokens : BD_TOKENS_CHARACTERS;
    dataset->height = dataset->width = dataset->channels = 1;
    dataset->deviation = 1;
    bd_status status = seen && number ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    if (!status)
        status = read_file(path, params, &data, &size, error);
    if (!status)
        status = survey(path, dataset->tokens, data, size, seen, &count, error);
    if (!status)
        status = make_vocabulary(path, seen, number, dataset, error);
    if (!status)
        status = allocate(&dataset->test, count / TEST_PART, error);
    if (!status)
        status = allocate(&dataset->train, count - count / TEST_PART, error);
    if (!status)
        tokenize(dataset, data, size, number);
    free(data);
    free(seen);
    free(number);
    return status;
}
