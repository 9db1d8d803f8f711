/* Command-line options from a table, one row an option, parsed by popt. Every value is checked here, and the message
 * of a wrong one names the option and says what would be right. */
#ifndef BINADE_APPS_OPTIONS_H
#define BINADE_APPS_OPTIONS_H

#include <binade/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum option_kind {
    OPTION_FLAG,    /* bool: true when named */
    OPTION_TEXT,    /* const char *: owned by the row */
    OPTION_INTEGER, /* int64_t from low to high */
    OPTION_NUMBER,  /* float from low to high */
    OPTION_CHOICE,  /* int: the position of the value in `argument`, "sgd|adam|adamw" */
} option_kind;

typedef struct option_row {
    const char *name;
    char short_name; /* -o beside --format; 0 for none */
    option_kind kind;
    void *target;         /* keeps its value, the default, when the option is not named */
    const char *argument; /* as the help shows it: "DIR", "sgd|adam|adamw" */
    const char *help;
    double low, high; /* both included; exact for whole numbers up to 2^53 */
    bool given;       /* set when named */
    char *owned;
} option_row;

/* Rows: name, kind, target, argument, help; and with the least and the largest value. */
#define OPTION(NAME, KIND, TARGET, ARGUMENT, HELP)                                                                     \
    {                                                                                                                  \
        .name = (NAME), .kind = OPTION_##KIND, .target = (TARGET), .argument = (ARGUMENT), .help = (HELP)              \
    }
#define OPTION_IN(NAME, KIND, TARGET, ARGUMENT, LOW, HIGH, HELP)                                                       \
    {                                                                                                                  \
        .name = (NAME), .kind = OPTION_##KIND, .target = (TARGET), .argument = (ARGUMENT), .low = (LOW),               \
        .high = (HIGH), .help = (HELP)                                                                                 \
    }

/* A command line's table. `usage` follows the command's name in the help, `about` says in a line what it does,
 * `examples` come after the options, and `exits`, the exit statuses in lines, ends it. */
typedef struct option_table {
    const char *command, *usage, *about, *examples;
    option_row *rows;
    size_t count;
    const char *exits;
    /* Takes an argument that is not an option; NULL: there are none. */
    bd_status (*take_word)(void *user, const char *word, bd_error *error);
    void *user;
} option_table;

/* Fills the targets. `*help` is set when --help was named (or --describe, for the makers of manual pages): it was
 * printed on stdout and there is nothing more to do. An argument that is not an option goes to take_word, after the
 * options, or is an error. */
bd_status options_parse(option_table *table, int argc, char **argv, bool *help, bd_error *error);
void options_finish(option_table *table);

/* Whether the option called `name` was named on the command line. */
bool options_given(const option_table *table, const char *name);

#endif
