#include "app.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void app_print_text(FILE *file, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        putc(*c < 0x20 || *c == 0x7f ? '?' : *c, file);
}

void app_print_quirks(FILE *file, const bd_device_info *info)
{
    if (!info->quirks[0])
        return;
    fputs("           quirks in force: ", file);
    app_print_text(file, info->quirks);
    putc('\n', file);
}

int app_report(bd_status status, const bd_error *error)
{
    fputs("binade: ", stderr);
    app_print_text(stderr, error && error->message[0] ? error->message : bd_status_name(status));
    putc('\n', stderr);
    switch (status) {
    case BD_OK: return APP_DONE;
    case BD_ERROR_ARGUMENT: return APP_USAGE;
    case BD_ERROR_INTERRUPTED: return APP_INTERRUPTED;
    default: return APP_FAILED;
    }
}

char *app_format(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *text = NULL;
    if (vasprintf(&text, format, list) < 0)
        text = NULL;
    va_end(list);
    return text;
}

const char *app_bytes(char text[32], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(text, 32, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *app_thousands(char text[32], double value)
{
    if (!(fabs(value) < 1e15))
        return strcpy(text, "-");
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%.0f", value), out = 0;
    for (int i = 0; i < length; i++) {
        int left = length - i;
        if (i && left % 3 == 0 && isdigit((unsigned char)digits[i - 1]))
            text[out++] = ',';
        text[out++] = digits[i];
    }
    text[out] = '\0';
    return text;
}

const char *app_duration(char text[32], double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9))
        return strcpy(text, "-");
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 32, "%ld:%02ld", s / 60, s % 60);
    return text;
}

static bd_status make_folder(const char *path, bd_error *error)
{
    if (!mkdir(path, 0777))
        return BD_OK;
    int reason = errno;
    struct stat status;
    if (reason == EEXIST && !stat(path, &status) && S_ISDIR(status.st_mode))
        return BD_OK;
    return bd_fail(error, BD_ERROR_FILE, "%s: cannot make this folder: %s", path,
                   reason == EEXIST ? "a file is in its place" : strerror(reason));
}

bd_status app_make_folders(const char *path, bd_error *error)
{
    char *copy = strdup(path);
    if (!copy)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for a path", path);
    bd_status status = BD_OK;
    for (char *slash = copy; !status && (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        status = make_folder(copy, error);
        *slash = '/';
    }
    if (!status)
        status = make_folder(copy, error);
    free(copy);
    return status;
}

/* The folder must be synchronised too, or the rename itself can be lost with the power. */
static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    if (!folder)
        return -1;
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (descriptor < 0)
        return -1;
    int result = fsync(descriptor);
    close(descriptor);
    return result;
}

bd_status app_replace_file(const char *path, void (*write)(FILE *file, const void *user), const void *user,
                           bd_error *error)
{
    char *part = app_format("%s.part", path);
    if (!part)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for a path", path);
    FILE *file = fopen(part, "we");
    int reason = errno;
    bool written = false;
    if (file) {
        write(file, user);
        /* The first failure's errno is the one to tell; fclose comes in any case. */
        written = !fflush(file) && !ferror(file) && !fsync(fileno(file));
        reason = errno;
        if (fclose(file) && written) {
            written = false;
            reason = errno;
        }
        if (written && (rename(part, path) || sync_folder_of(path))) {
            written = false;
            reason = errno;
        }
        if (!written)
            unlink(part);
    }
    free(part);
    return written ? BD_OK : bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", path, strerror(reason));
}

static volatile sig_atomic_t interrupt_seen;

static void on_interrupt(int number)
{
    (void)number;
    interrupt_seen = 1;
}

void app_catch_interrupt(void)
{
    /* SA_RESETHAND puts the default back before the handler runs: so the second signal kills. */
    struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND | SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool app_interrupted(void)
{
    return interrupt_seen;
}
