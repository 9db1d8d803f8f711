#include "options.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_VALUE = 1, FIRST_ROW_VALUE }; /* what popt returns for an option; 0 would mean "handled" */

static bd_status parse_integer(const option_row *row, const char *text, bd_error *error)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || (double)value < row->low || (double)value > row->high)
        return bd_fail(error, BD_ERROR_ARGUMENT, "--%s %s: a whole number from %.0f to %.0f is needed", row->name, text,
                       row->low, row->high);
    *(int64_t *)row->target = value;
    return BD_OK;
}

static bd_status parse_number(const option_row *row, const char *text, bd_error *error)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= row->low && value <= row->high))
        return bd_fail(error, BD_ERROR_ARGUMENT, "--%s %s: a number from %g to %g is needed", row->name, text, row->low,
                       row->high);
    *(float *)row->target = (float)value;
    return BD_OK;
}

static bd_status parse_choice(const option_row *row, const char *text, bd_error *error)
{
    size_t length = strlen(text);
    const char *choice = row->argument;
    for (int i = 0; choice; i++) {
        size_t choice_length = strcspn(choice, "|");
        if (length == choice_length && !strncmp(choice, text, length)) {
            *(int *)row->target = i;
            return BD_OK;
        }
        choice = choice[choice_length] ? choice + choice_length + 1 : NULL;
    }
    return bd_fail(error, BD_ERROR_ARGUMENT, "--%s %s: one of %s is needed", row->name, text, row->argument);
}

static bd_status take_value(option_row *row, char *text, bd_error *error)
{
    row->given = true;
    free(row->owned); /* of an earlier mention: the last one wins */
    row->owned = text;
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)row->target = true; return BD_OK;
    case OPTION_INTEGER: return parse_integer(row, text, error);
    case OPTION_NUMBER: return parse_number(row, text, error);
    case OPTION_CHOICE: return parse_choice(row, text, error);
    case OPTION_TEXT: break;
    }
    if (!*text)
        return bd_fail(error, BD_ERROR_ARGUMENT, "--%s: %s is needed, not nothing", row->name, row->argument);
    *(const char **)row->target = text;
    return BD_OK;
}

static void print_help(poptContext context, const option_table *table)
{
    printf("%s\n\n", table->about);
    fflush(stdout);
    poptPrintHelp(context, stdout, 0);
    printf("\nExamples:\n%s\nExit status: %s", table->examples, table->exits);
}

/* The table as JSON, from which the manual pages and the shells' completions are made. */
static bd_status describe(const option_table *table, bd_error *error)
{
    static const char *const kinds[] = { "flag", "text", "integer", "number", "choice" };
    json_t *options = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const option_row *row = &table->rows[i];
        json_array_append_new(options, json_pack("{s:s, s:s#, s:s, s:s?, s:s}", "name", row->name, "short_name",
                                                 &row->short_name, row->short_name ? 1 : 0, "kind", kinds[row->kind],
                                                 "argument", row->argument, "help", row->help));
    }
    json_t *whole =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "command", table->command, "usage", table->usage, "about",
                  table->about, "examples", table->examples, "exits", table->exits, "options", options);
    int result = whole ? json_dumpf(whole, stdout, JSON_INDENT(1)) : -1;
    json_decref(whole);
    putchar('\n');
    return result ? bd_fail(error, BD_ERROR_MEMORY, "cannot describe the options") : BD_OK;
}

static bd_status parse_all(poptContext context, option_table *table, bool *help, bd_error *error)
{
    int value;
    while ((value = poptGetNextOpt(context)) > 0) {
        if (value == HELP_VALUE) {
            print_help(context, table);
            *help = true;
            return BD_OK;
        }
        bd_status status = take_value(&table->rows[value - FIRST_ROW_VALUE], poptGetOptArg(context), error);
        if (status)
            return status;
    }
    if (value < -1)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: %s (binade %s --help lists the options)",
                       poptBadOption(context, POPT_BADOPTION_NOALIAS), poptStrerror(value), table->command);
    bd_status status = BD_OK;
    for (const char *word; !status && table->take_word && (word = poptGetArg(context));)
        status = table->take_word(table->user, word, error);
    const char *extra = status ? NULL : poptGetArg(context);
    if (extra)
        return bd_fail(error, BD_ERROR_ARGUMENT, "%s: not an option (binade %s --help lists the options)", extra,
                       table->command);
    return status;
}

bd_status options_parse(option_table *table, int argc, char **argv, bool *help, bd_error *error)
{
    *help = argc == 2 && !strcmp(argv[1], "--describe");
    if (*help)
        return describe(table, error);
    struct poptOption *options = calloc(table->count + 2, sizeof(*options));
    if (!options)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the options");
    for (size_t i = 0; i < table->count; i++) {
        const option_row *row = &table->rows[i];
        options[i] = (struct poptOption){
            .longName = row->name,
            .shortName = row->short_name,
            .argInfo = row->kind == OPTION_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING,
            .val = FIRST_ROW_VALUE + (int)i,
            .descrip = row->help,
            .argDescrip = row->argument,
        };
    }
    options[table->count] = (struct poptOption){
        .longName = "help", .shortName = 'h', .argInfo = POPT_ARG_NONE, .val = HELP_VALUE, .descrip = "show this help"
    };
    char title[64]; /* popt's help begins with argv[0] */
    snprintf(title, sizeof(title), "binade %s", table->command);
    argv[0] = title;
    poptContext context = poptGetContext(NULL, argc, (const char **)argv, options, 0);
    bd_status status = context ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for the options");
    if (!status) {
        poptSetOtherOptionHelp(context, table->usage);
        status = parse_all(context, table, help, error);
        poptFreeContext(context);
    }
    free(options);
    return status;
}

void options_finish(option_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->rows[i].owned);
}

bool options_given(const option_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (!strcmp(table->rows[i].name, name))
            return table->rows[i].given;
    return false;
}
