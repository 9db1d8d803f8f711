/* libFuzzer: any lines as arguments of a command that has an option of each kind; what is accepted is within its
 * bounds. */
#include "../../apps/options.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ARGUMENTS = 16, ROWS = 5 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    if (!freopen("/dev/null", "w", stdout)) /* --help */
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bool flag = false, help = false;
    int choice = 0;
    int64_t integer = 1;
    float number = 0;
    const char *text = "";
    option_row rows[ROWS] = {
        OPTION("flag", FLAG, &flag, NULL, "a flag"),
        OPTION("text", TEXT, &text, "TEXT", "a text"),
        OPTION_IN("integer", INTEGER, &integer, "N", 1, 1e6, "an integer"),
        OPTION_IN("number", NUMBER, &number, "X", 0, 1e6, "a number"),
        OPTION("choice", CHOICE, &choice, "sgd|adam|adamw", "a choice"),
    };
    option_table table = { .command = "fuzz", "[OPTION]...", "Fuzzes.", "", rows, ROWS, "" };
    char *lines = fuzz_text(bytes, size), *arguments[MOST_ARGUMENTS + 2] = { (char[]){ "fuzz" } };
    int count = 1;
    for (char *line = lines; line && count <= MOST_ARGUMENTS;) {
        char *end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        arguments[count++] = line;
        line = end;
    }
    bd_error error;
    bd_status status = options_parse(&table, count, arguments, &help, &error);
    if (status ? !error.message[0] || strpbrk(error.message, "\r\n") != NULL
               : integer < 1 || integer > 1000000 || !(number >= 0 && number <= 1e6f) || choice < 0 || choice > 2)
        abort();
    options_finish(&table);
    free(lines);
    return 0;
}
