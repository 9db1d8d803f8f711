/* binade check: does the device compute rightly, how exactly, and what must the engine go round? */
#include "check.h"
#include "app.h"
#include "engine/atomic_file.h"
#include "lists.h"
#include "options.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct command {
    check check;
    const char *device, *output;
    bool json, quiet;
    int64_t seed;
} command;

/* A device that is known by its id only: it is opened when its turn comes, without quirks. */
static bd_status add(check *self, const bd_device_info *info, bd_error *error)
{
    for (size_t i = 0; i < self->device_count; i++)
        if (!strcmp(self->devices[i].info.id, info->id))
            return BD_OK; /* named twice */
    bd_status status = list_grow((void **)&self->devices, self->device_count, sizeof *self->devices, error);
    if (!status)
        self->devices[self->device_count++] = (check_device){ .info = *info };
    return status;
}

static bd_status add_named(void *user, const char *item, bd_error *error)
{
    bd_device *device = NULL;
    bd_status status = bd_device_open_without_quirks(item, &device, error);
    if (!status)
        status = add(user, bd_device_get_info(device), error);
    bd_device_close(&device);
    return status;
}

static bd_status add_all(check *self, bd_error *error)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    bd_status status = bd_device_list(&infos, &count, error);
    for (size_t i = 0; !status && i < count; i++)
        if (strcmp(infos[i].backend, "reference") != 0)
            status = add(self, &infos[i], error);
    free(infos);
    if (!status && !self->device_count)
        status = bd_fail(error, BD_ERROR_UNSUPPORTED, "no OpenCL or Vulkan device found: " APP_DRIVER_ADVICE);
    return status;
}

static bd_status run(command *self, bd_error *error)
{
    check *c = &self->check;
    bd_status status = strcmp(self->device, "all") != 0 ? list_each("device", self->device, false, c, add_named, error)
                                                        : add_all(c, error);
    if (!status && self->output)
        status = bd_atomic_file_try(self->output, error); /* before the minutes that it takes */
    const time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts))
        strftime(c->started, sizeof c->started, "%Y-%m-%dT%H:%M:%SZ", &parts);
    c->seed = (uint64_t)self->seed;
    app_catch_interrupt();
    for (size_t i = 0; i < c->device_count && !status; i++)
        status = check_run(c, &c->devices[i], error);
    if (status)
        return status;
    void (*const write)(FILE *, const void *) = self->json ? check_write_json : check_write_text;
    if (self->output)
        return app_replace_file(self->output, write, c, error);
    write(stdout, c);
    return BD_OK;
}

static const char examples[] =
    "  binade check --quick                          a sample of every kind of kernel: half a minute a device\n"
    "  binade check                                  everything, on every device: minutes\n"
    "  binade check --device vulkan:0 --json --output check.json\n"
    "  binade check --device opencl:0 --limit minimum-vulkan\n"
    "\n"
    "What is found wrong goes into a quirks file that train, compare and bench obey from then on; BINADE_QUIRKS=off in "
    "the\n"
    "environment goes without it.\n";

int command_check(int argc, char **argv)
{
    command self = { .device = "all", .seed = 1 };
    option_row rows[] = {
        OPTION("device", TEXT, &self.device, "LIST", "ids, joined by commas, or all but the reference (all)"),
        OPTION("quick", FLAG, &self.check.quick, NULL, "a sample of every kind of kernel"),
        OPTION("limit", TEXT, &self.check.limit, "LIMITS",
               "make the device look smaller: minimum-vulkan or shared=16K,workgroup=128,..."),
        OPTION_IN("seed", INTEGER, &self.seed, "N", 0, 9007199254740992.0, "of the random numbers (1)"),
        OPTION("json", FLAG, &self.json, NULL, "print one JSON document"),
        { .name = "output",
          .short_name = 'o',
          .kind = OPTION_TEXT,
          .target = &self.output,
          .argument = "FILE",
          .help = "write there instead of stdout" },
        OPTION("quiet", FLAG, &self.quiet, NULL, "no progress, only the result"),
    };
    option_table table = {
        .command = "check",
        "[OPTION]...",
        "Checks every kernel on a device against a double-precision reference.",
        examples,
        rows,
        sizeof(rows) / sizeof(rows[0]),
        "0 every device computes rightly, 1 one could not be checked, 2 wrong usage, 4 one computes wrongly,\n"
        "130 interrupted (nothing is written).\n"
    };
    bool help = false;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help) {
        progress_init(&self.check.progress, "", self.quiet);
        status = run(&self, &error);
    }
    int result = status ? app_report(status, &error) : APP_DONE;
    for (size_t i = 0; !status && i < self.check.device_count; i++) {
        const check_device *d = &self.check.devices[i];
        if (d->verdict == CHECK_FAILED) {
            bd_fail(&error, BD_ERROR_DEVICE, "%s: %s", d->info.id, d->reason);
            result = app_report(error.status, &error);
        }
    }
    for (size_t i = 0; !status && i < self.check.device_count && result == APP_DONE; i++)
        if (self.check.devices[i].verdict == CHECK_WRONG)
            result = APP_WRONG;
    check_finish(&self.check);
    options_finish(&table);
    return result;
}
