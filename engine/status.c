/* Status names and error messages. */
#include <binade/status.h>

#include <stdarg.h>
#include <stdio.h>

bd_status bd_fail(bd_error *error, bd_status status, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        /* A message may quote a name out of a file: it stays one line. */
        for (char *c = error->message; *c; c++)
            if ((unsigned char)*c < ' ')
                *c = '?';
    }
    return status;
}

const char *bd_status_name(bd_status status)
{
    switch (status) {
    case BD_OK: return "ok";
    case BD_ERROR_ARGUMENT: return "wrong argument";
    case BD_ERROR_MEMORY: return "out of memory";
    case BD_ERROR_DEVICE: return "device failure";
    case BD_ERROR_UNSUPPORTED: return "unsupported";
    case BD_ERROR_FILE: return "file failure";
    case BD_ERROR_DATA: return "damaged data";
    case BD_ERROR_NUMERIC: return "value not finite";
    case BD_ERROR_INTERRUPTED: return "interrupted";
    case BD_ERROR_LOST: return "device lost";
    }
    return "unknown status";
}
