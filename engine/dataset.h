/* The readers of data sets, one a kind of source, and what they share. */
#ifndef BINADE_ENGINE_DATASET_H
#define BINADE_ENGINE_DATASET_H

#include "files.h"
#include <binade/data.h>
#include <stdbool.h>

/* Class numbers are bytes. */
enum { BD_MOST_CLASSES = 255 };

/* ---- IDX: dataset_idx.c ---- */
/* Whether the folder holds training images by their IDX name. */
bool bd_idx_folder(const char *folder);
/* From a folder, or from four paths joined by ','. */
bd_status bd_idx_load_folder(const char *folder, bd_dataset *dataset, bd_error *error);
bd_status bd_idx_load_paths(const char *paths, bd_dataset *dataset, bd_error *error);

/* ---- CIFAR's binary format: dataset_cifar.c ---- */
/* Whether a file of that name (its last part) belongs to a CIFAR set. */
bool bd_cifar_wants(const char *path);
/* Whether the files have CIFAR's training files among them; a folder's must have been added by bd_cifar_add_folder. */
bool bd_cifar_found(const bd_files *files);
/* Adds the files of a CIFAR set in the folder itself or in the folder that its archives make. */
bd_status bd_cifar_add_folder(bd_files *files, bd_error *error);
bd_status bd_cifar_load(bd_files *files, bd_dataset *dataset, bd_error *error);
/* Appends the records of one file: `coarse` bytes to skip, a label, then 3072 bytes by channel. */
bd_status bd_cifar_append(const char *name, const uint8_t *data, size_t size, int coarse, int64_t classes,
                          bd_examples *examples, bd_error *error);

/* ---- folders of images: dataset_images.c ---- */
bool bd_images_wants(const char *path);
/* Adds the splits' folders below the root; *found tells whether there is one for training. */
bd_status bd_images_add_folder(bd_files *files, bool *found, bd_error *error);
/* Decodes them all into `dataset`, or takes what an earlier run decoded. */
bd_status bd_images_load(bd_files *files, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error);

/* ---- decoded images on disk: dataset_cache.c ---- */
/* What a cache was made from, a hash of names, sizes and times; any change makes another one. */
typedef struct bd_source_mark {
    uint64_t low, high;
} bd_source_mark;
/* The mark of the sources that the files come from. */
bd_status bd_source_mark_of(const bd_files *files, bd_source_mark *mark, bd_error *error);
/* The cache's file for a source: in `folder`, or where caches are kept if NULL. *path is NULL where there is no such
 * place. */
bd_status bd_dataset_cache_path(const char *folder, const char *root, char **path, bd_error *error);
/* True if the file is whole and was made from this source; else the data set is untouched. */
bool bd_dataset_cache_load(const char *path, const bd_source_mark *mark, bd_dataset *dataset);
bd_status bd_dataset_cache_save(const char *path, const bd_source_mark *mark, const bd_dataset *dataset,
                                bd_error *error);

/* ---- texts: dataset_text.c ---- */
/* Reads a file that is none of the above. */
bd_status bd_text_load(const char *path, const bd_dataset_params *params, bd_dataset *dataset, bd_error *error);

/* A vocabulary as one text in UTF-8, a character for each token: the token itself, or the byte whose value is the
 * character's code point. malloc'ed, the caller frees; NULL without memory. */
char *bd_vocabulary_write(bd_tokens tokens, char *const *names, int64_t count);
/* The names that it was made from; `source` is for messages. *names is the caller's to free, and each of them. */
bd_status bd_vocabulary_read(const char *source, bd_tokens tokens, const char *text, char ***names, int64_t *count,
                             bd_error *error);
/* "char" or "byte", and back: BD_TOKENS_NONE if it is neither. */
const char *bd_tokens_name(bd_tokens tokens);
bd_tokens bd_tokens_from_name(const char *name);
/* The length of the UTF-8 character that `size` bytes begin with, its code point; 0 if they begin with none. */
size_t bd_utf8_character(const uint8_t *bytes, size_t size, uint32_t *code);

/* ---- shared ---- */
/* Room for the examples of a split; *examples owns it. */
bd_status bd_examples_allocate(bd_examples *examples, int64_t count, int64_t bytes_each, bd_error *error);
/* Sets the names of `classes` classes, copied. */
bd_status bd_dataset_set_classes(bd_dataset *dataset, const char *const *names, int64_t classes, bd_error *error);

#endif
