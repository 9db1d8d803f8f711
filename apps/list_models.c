#include "list_models.h"
#include "app.h"
#include "json.h"
#include "models/models.h"
#include <inttypes.h>

enum { SIDE = 32, CHANNELS = 3, CLASSES = 10, CHARACTERS = 65 /* of the usual text, tinyshakespeare */ };

static bd_status measure(const char *name, int64_t *context, bd_model_cost *cost, bd_error *error)
{
    const bd_dataset images = {
        .name = "CIFAR-10", .height = SIDE, .width = SIDE, .channels = CHANNELS, .classes = CLASSES
    };
    model m;
    bd_status status = model_parse(name, &m, error);
    if (status)
        return status;
    *context = m.gpt.context;
    if (m.gpt.context)
        return bd_model_measure(m.function, &m, BD_SHAPE(m.gpt.context), CHARACTERS, cost, error);
    status = model_fit(&m, &images, error);
    return status ? status : bd_model_measure(m.function, &m, BD_SHAPE(SIDE, SIDE, CHANNELS), CLASSES, cost, error);
}

static json_t *row_json(const char *name, const char *about, int64_t context, const bd_model_cost *cost)
{
    json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "model", name, "about", about, "parameters",
                            (json_int_t)cost->parameters, "statistics", (json_int_t)cost->statistics, "forward_flops",
                            (json_int_t)cost->forward_flops, "step_flops", (json_int_t)cost->step_flops,
                            "activation_bytes", (json_int_t)cost->activation_bytes);
    if (row && context)
        json_object_set_new(row, "context", json_integer(context));
    return row;
}

static void print_row(const char *name, const char *about, const bd_model_cost *cost)
{
    char parameters[32], bytes[32];
    printf("%-13s %12s %12.1f %12.1f %12s  %s\n", name, app_thousands(parameters, (double)cost->parameters),
           (double)cost->forward_flops / 1e6, (double)cost->step_flops / 1e6, app_bytes(bytes, cost->activation_bytes),
           about);
}

bd_status list_models(bool json, bd_error *error)
{
    json_t *rows = json_array();
    bd_status status = rows ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for a list");
    if (!json)
        printf("%-13s %12s %12s %12s %12s\n", "model", "parameters", "MFLOP", "MFLOP, step", "activations");
    for (int i = 0; model_name(i) && !status; i++) {
        bd_model_cost cost;
        int64_t context;
        status = measure(model_name(i), &context, &cost, error);
        if (status)
            break;
        if (!json)
            print_row(model_name(i), model_about(i), &cost);
        else if (json_array_append_new(rows, row_json(model_name(i), model_about(i), context, &cost)))
            status = bd_fail(error, BD_ERROR_MEMORY, "no memory for a list");
    }
    if (!status && !json)
        puts("for one image of 32x32x3 and ten classes, gpt for one window of 64 or 256 tokens of 65; a step is "
             "forward and backward pass, activations are what the\n"
             "backward pass reads of the forward pass in fp32");
    json_t *whole = !status && json
                        ? json_pack("{s:i, s:[i,i,i], s:i, s:i, s:O}", "format_version", APP_FORMAT_VERSION, "image",
                                    SIDE, SIDE, CHANNELS, "classes", CLASSES, "characters", CHARACTERS, "models", rows)
                        : NULL;
    if (whole) {
        json_dumpf(whole, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(whole);
    json_decref(rows);
    return status;
}
