/* binade devices: what is here, and what each device can really do in FP16. Every device is opened, since the truth
 * about FP16 is found by running kernels. */
#include "app.h"
#include "describe.h"
#include "json.h"
#include "options.h"
#include <stdlib.h>
#include <string.h>

static void print_half(const bd_half_support *half)
{
    printf("  fp16 storage     %s\n", describe_storage(half));
    printf("  fp16 arithmetic  %s\n", describe_arithmetic(half));
    printf("  fp16 rounding    %s\n", describe_rounding(half));
    printf("  subnormals       %s\n", describe_subnormals(half));
}

static void print_limits(const bd_limits *l)
{
    char memory[32], buffer[32], binding[32], shared[32];
    printf("  memory           %s, largest buffer %s, largest binding %s\n", app_bytes(memory, l->memory_bytes),
           app_bytes(buffer, l->max_buffer_bytes), app_bytes(binding, l->max_binding_bytes));
    printf("  work-group       %u items (%u x %u x %u), %s shared, ", l->max_workgroup_items, l->max_workgroup_size[0],
           l->max_workgroup_size[1], l->max_workgroup_size[2], app_bytes(shared, l->shared_bytes));
    if (l->subgroup_size)
        printf("subgroups of %u, ", l->subgroup_size);
    else
        printf("subgroups not told, ");
    printf("%u compute units\n", l->compute_units);
}

static void print_device(const bd_device_info *info, bool opened, const bd_error *error)
{
    app_print_text(stdout, info->id);
    fputs("  ", stdout);
    app_print_text(stdout, info->name);
    fputs("\n  driver           ", stdout);
    app_print_text(stdout, info->driver);
    if (info->vendor[0]) {
        fputs(" (", stdout);
        app_print_text(stdout, info->vendor);
        putchar(')');
    }
    printf("\n  type             %s\n", describe_type(info->type));
    print_limits(&info->limits);
    if (opened) {
        print_half(&info->half);
    } else {
        fputs("  cannot be used:  ", stdout);
        app_print_text(stdout, error->message);
        putchar('\n');
    }
    if (!opened)
        return; /* what follows is found by opening it */
    fputs("  matrix units     ", stdout);
    app_print_text(stdout, info->matrix_units[0] ? info->matrix_units : "none");
    fputs("\n  quirks           ", stdout);
    app_print_text(stdout, info->quirks[0] ? info->quirks : "none known (binade check looks for them)");
    putchar('\n');
}

/* Shows one device; false if it could not be opened. */
static bool show(const bd_device_info *listed, bool first, json_t *list)
{
    bd_device *device = NULL;
    bd_error error = { 0 };
    bool opened = !bd_device_open(listed->id, &device, &error);
    const bd_device_info *info = opened ? bd_device_get_info(device) : listed;
    if (list) {
        json_t *object = json_device(info);
        json_object_set_new(object, "usable", json_boolean(opened));
        if (!opened)
            json_object_set_new(object, "error", json_text(error.message));
        json_array_append_new(list, object);
    } else {
        if (!first)
            putchar('\n');
        print_device(info, opened, &error);
    }
    bd_device_close(&device);
    return opened;
}

static bd_status show_all(bool json, bool *all_opened, bd_error *error)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    bd_status status = bd_device_list(&infos, &count, error);
    if (status)
        return status;
    json_t *list = json ? json_array() : NULL;
    *all_opened = true;
    bool has_driver = false;
    for (size_t i = 0; i < count; i++) {
        *all_opened &= show(&infos[i], i == 0, list);
        has_driver |= strcmp(infos[i].backend, "reference") != 0;
    }
    if (!has_driver)
        fputs("no OpenCL or Vulkan device found: " APP_DRIVER_ADVICE "\n", stderr);
    free(infos);
    if (json) {
        json_t *document = json_pack("{s:i, s:o}", "format_version", APP_FORMAT_VERSION, "devices", list);
        json_dumpf(document, stdout, JSON_STYLE | JSON_INDENT(2));
        putchar('\n');
        json_decref(document);
    }
    return BD_OK;
}

int command_devices(int argc, char **argv)
{
    bool json = false, help = false, all_opened = true;
    option_row rows[] = { OPTION("json", FLAG, &json, NULL, "print one JSON document") };
    option_table table = {
        .command = "devices",
        "[OPTION]...",
        "Lists the devices to train on and what each can really do in FP16, found by running kernels.\n"
        "Name a device by its id, its backend or a part of its name, as in --device vulkan.",
        "  binade devices                      for people\n"
        "  binade devices --json               for programs\n",
        rows,
        sizeof(rows) / sizeof(rows[0]),
        "0 done, 1 a device could not be opened (its entry says why), 2 wrong usage.\n"
    };
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help)
        status = show_all(json, &all_opened, &error);
    options_finish(&table);
    if (status)
        return app_report(status, &error);
    return all_opened ? APP_DONE : APP_FAILED;
}
