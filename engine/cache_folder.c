/* Where caches are kept. */
#include "cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

bool bd_make_folders(char *path)
{
    for (char *slash = path + 1;; ++slash) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char end = *slash;
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = end;
        if (!made || end == '\0')
            return made;
    }
}

bool bd_cache_folder(char folder[PATH_MAX])
{
    /* The XDG Base Directory Specification: a relative path is to be ignored. */
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (base && base[0] == '/')
        length = snprintf(folder, PATH_MAX, "%s/binade", base);
    else if (home && home[0] == '/')
        length = snprintf(folder, PATH_MAX, "%s/.cache/binade", home);
    return length > 0 && length < PATH_MAX;
}
