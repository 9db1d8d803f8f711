/* A folder of a test's own, and files in it. */
#ifndef BINADE_TESTS_SCRATCH_H
#define BINADE_TESTS_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* Makes an empty folder; ends the test if it cannot. */
void scratch_create(void);
/* Removes it with all that is in it. */
void scratch_remove(void);
/* "FOLDER/NAME", good until the next eight calls. */
const char *scratch_path(const char *name);
const char *scratch_folder(void);
/* Writes a file, plain or as gzip. */
void scratch_write(const char *name, const void *data, size_t size);
void scratch_write_gz(const char *name, const void *data, size_t size);
/* Reads a whole file; the caller frees. */
uint8_t *scratch_read(const char *name, size_t *size);
/* How many files the folder holds. */
int scratch_count(void);

#endif
