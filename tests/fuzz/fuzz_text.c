/* libFuzzer: any bytes as a text, of characters and of bytes; what is accepted says the same again, and so does its
 * vocabulary. */
#include "../../engine/dataset.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check(const uint8_t *bytes, size_t size, bd_tokens tokens)
{
    bd_dataset dataset = { .name = "fuzz" };
    size_t at = 0;
    if (!bd_text_load(fuzz_file(bytes, size), &(bd_dataset_params){ .tokens = tokens }, &dataset, NULL)) {
        for (int64_t i = 0; i < dataset.train.count + dataset.test.count; i++) {
            const int64_t before = dataset.train.count;
            const uint8_t token = i < before ? dataset.train.images[i] : dataset.test.images[i - before];
            const char *name = dataset.class_names[token];
            if (token >= dataset.classes || strlen(name) > size - at || memcmp(bytes + at, name, strlen(name)))
                abort();
            at += strlen(name);
        }
        char **names, *vocabulary = bd_vocabulary_write(tokens, dataset.class_names, dataset.classes);
        int64_t count;
        if (at != size || bd_vocabulary_read("fuzz", tokens, vocabulary, &names, &count, NULL) ||
            count != dataset.classes)
            abort();
        for (int64_t i = 0; i < count; i++) {
            if (strcmp(names[i], dataset.class_names[i]))
                abort();
            free(names[i]);
        }
        free(names);
        free(vocabulary);
    }
    for (int64_t i = 0; dataset.class_names && i < dataset.classes; i++)
        free(dataset.class_names[i]);
    free(dataset.class_names);
    free(dataset.train.images);
    free(dataset.test.images);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char **names, *text = fuzz_text(bytes, size);
    int64_t count;
    for (bd_tokens tokens = BD_TOKENS_CHARACTERS; tokens <= BD_TOKENS_BYTES; tokens++) {
        check(bytes, size, tokens);
        if (bd_vocabulary_read("fuzz", tokens, text, &names, &count, NULL))
            continue;
        for (int64_t i = 0; i < count; i++)
            free(names[i]);
        free(names);
    }
    free(text);
    return 0;
}
