/* Status codes and error messages: what every fallible function of Binade returns. */
#ifndef BINADE_STATUS_H
#define BINADE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what the shared library exports; everything else is hidden. */
#if defined(__GNUC__)
#define BD_API __attribute__((visibility("default")))
#define BD_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define BD_API
#define BD_PRINTF(format_index, first)
#endif

typedef enum bd_status {
    BD_OK = 0,
    BD_ERROR_ARGUMENT,    /* the caller's values make no sense; the message says which and what would */
    BD_ERROR_MEMORY,      /* host or device memory is exhausted */
    BD_ERROR_DEVICE,      /* the driver failed or refused */
    BD_ERROR_UNSUPPORTED, /* right, but not on this device or in this build */
    BD_ERROR_FILE,        /* the system refused to open, read or write a file */
    BD_ERROR_DATA,        /* a file's content is not what its format demands */
    BD_ERROR_NUMERIC,     /* training met a value that is not finite */
    BD_ERROR_INTERRUPTED, /* the caller asked to stop; state was saved first */
    BD_ERROR_LOST, /* the device is gone in mid-work, with all that was on it: close it, and perhaps open it anew */
} bd_status;

/* One clear line: what went wrong, where, what would be right. Owned by the caller, usually on the stack;
 * functions accept NULL. Written only on failure. */
typedef struct bd_error {
    bd_status status;
    char message[1024];
} bd_error;

/* Fills `error` (may be NULL) and returns `status`, so that `return bd_fail(...)` reads naturally. */
BD_API bd_status bd_fail(bd_error *error, bd_status status, const char *format, ...) BD_PRINTF(3, 4);

/* A short constant English name of the status, "ok" for BD_OK. Never NULL. */
BD_API const char *bd_status_name(bd_status status);

#ifdef __cplusplus
}
#endif
#endif
