/* What the fuzzers share. */
#ifndef BINADE_TESTS_FUZZ_H
#define BINADE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t most); /* libFuzzer's own */

/* A path at which the bytes can be read: a file in memory, the same one each time. */
const char *fuzz_file(const uint8_t *bytes, size_t size);
/* The bytes as a string, which ends at the first that is 0; the caller frees. */
char *fuzz_text(const uint8_t *bytes, size_t size);

#endif
