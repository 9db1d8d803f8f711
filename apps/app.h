/* What the subcommands of the `binade` program share: exit statuses, one-line messages, small text and file helpers.
 * Results go to stdout; everything here that speaks, speaks on stderr. */
#ifndef BINADE_APPS_APP_H
#define BINADE_APPS_APP_H

#include <binade/binade.h>
#include <stdio.h>

/* The program's exit statuses, promised in --help and docs/usage.md. APP_WRONG: `check` found a device that computes
 * wrongly. */
enum app_exit { APP_DONE = 0, APP_FAILED = 1, APP_USAGE = 2, APP_LOST = 3, APP_WRONG = 4, APP_INTERRUPTED = 130 };

/* Of every JSON document that the program writes. It grows when a field changes its meaning or goes, not when one is
 * added. */
#define APP_FORMAT_VERSION 1

/* What to do where no driver is found. */
#define APP_DRIVER_ADVICE                                                                                              \
    "install the GPU's OpenCL or Vulkan driver, or for the CPU Debian's pocl-opencl-icd or mesa-vulkan-drivers"

/* A subcommand: argv[0] is its name. Returns an app_exit. */
int command_devices(int argc, char **argv);
int command_train(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_check(int argc, char **argv);
int command_sample(int argc, char **argv);
int command_reproduce(int argc, char **argv);

/* Prints "binade: MESSAGE" on stderr, on one line and without control characters, and returns the exit status that
 * `status` asks for: APP_USAGE for BD_ERROR_ARGUMENT, APP_LOST for BD_ERROR_LOST, APP_INTERRUPTED for
 * BD_ERROR_INTERRUPTED, else APP_FAILED. */
int app_report(bd_status status, const bd_error *error);

/* Writes `text` with control characters replaced by '?', so that a driver or a file cannot steer the terminal. */
void app_print_text(FILE *file, const char *text);

/* A malloc'ed string, or NULL without memory. */
char *app_format(const char *format, ...) BD_PRINTF(1, 2);

/* 1536 -> "1.5 KiB" */
const char *app_bytes(char text[32], uint64_t bytes);
/* 1234567 -> "1,234,567" */
const char *app_thousands(char text[32], double value);
/* 3723 -> "1:02:03", 62 -> "1:02" */
const char *app_duration(char text[32], double seconds);

/* Makes a folder and those above it; one that exists is fine. */
bd_status app_make_folders(const char *path, bd_error *error);

/* Replaces the file at `path` with what `write` prints: into a file beside it, then fsync, rename and fsync of the
 * folder, so that a reader finds the old file or the new one and never a part. On failure the old one stays. */
bd_status app_replace_file(const char *path, void (*write)(FILE *file, const void *user), const void *user,
                           bd_error *error);

/* From now on the first SIGINT makes app_interrupted() true; the second ends the program at once, as without a
 * handler. */
void app_catch_interrupt(void);
bool app_interrupted(void);

#endif
