/* `binade compare` for other commands: one that needs many runs asks for a comparison, and judges what it found. */
#ifndef BINADE_APPS_COMPARE_H
#define BINADE_APPS_COMPARE_H

#include "results.h"

/* Takes what was found, good during the call only. */
typedef void (*compare_end)(void *user, const comparison *found);

/* Parses a command line of `compare`, argv[0] being the command's name, and does all that the command does; but `end`,
 * unless it is NULL, takes the place of the table. *all_done tells whether every run came to its end: one that failed
 * has its reason in the results. */
bd_status compare(int argc, char **argv, compare_end end, void *user, bool *all_done, bd_error *error);

#endif
