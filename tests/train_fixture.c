/* Small data sets, models and runs: see the header. */
#include "train_fixture.h"

#include "../engine/philox.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIXELS = FIXTURE_SIDE * FIXTURE_SIDE };

void must(bd_status status, const bd_error *error)
{
    ck_assert_msg(status == BD_OK, "%s: %s", bd_status_name(status), error->message);
}

static bd_examples make_examples(int count, uint32_t key)
{
    bd_examples examples = { count, malloc((size_t)count * PIXELS), malloc((size_t)count) };
    ck_assert(examples.images && examples.labels);
    for (int i = 0; i < count; i++) {
        int label = i * 7 % FIXTURE_CLASSES;
        examples.labels[i] = (uint8_t)label;
        for (int p = 0; p < PIXELS; p++) {
            uint32_t words[4];
            bd_philox((uint32_t[]){ key, 0 }, (uint32_t[]){ (uint32_t)i, (uint32_t)p, 0, 0 }, words);
            int row = p / FIXTURE_SIDE, column = p % FIXTURE_SIDE;
            int quadrant = (row >= FIXTURE_SIDE / 2) * 2 + (column >= FIXTURE_SIDE / 2);
            examples.images[i * PIXELS + p] = (uint8_t)((quadrant == label ? 120 : 40) + words[0] % 100);
        }
    }
    return examples;
}

bd_dataset *fixture_dataset(void)
{
    bd_dataset *dataset = calloc(1, sizeof *dataset);
    ck_assert_ptr_nonnull(dataset);
    *dataset = (bd_dataset){ .name = "quadrants",
                             .height = FIXTURE_SIDE,
                             .width = FIXTURE_SIDE,
                             .channels = 1,
                             .classes = FIXTURE_CLASSES,
                             .mean = 0.4f,
                             .deviation = 0.2f };
    dataset->train = make_examples(FIXTURE_TRAIN, 1);
    dataset->test = make_examples(FIXTURE_TEST, 2);
    return dataset;
}

void fixture_free(bd_dataset **dataset)
{
    bd_dataset_close(dataset);
}

bd_tensor fixture_mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    x = bd_relu(graph, bd_linear(graph, bd_flatten(graph, x), 16, true, "fc1"));
    return bd_linear(graph, x, classes, true, "fc2");
}

bd_tensor fixture_net(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    const bd_window same = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } }, halve = { { 2, 2 }, { 2, 2 }, { { 0 } } };
    x = bd_conv(graph, x, 4, same, true, "conv");
    x = bd_relu(graph, bd_batch_norm(graph, x, training, 0.9f, 1e-3f, "norm"));
    x = bd_flatten(graph, bd_max_pool(graph, x, halve));
    return bd_linear(graph, bd_dropout(graph, x, 0.25f, training), classes, true, "fc");
}

bool fixture_device_opens(const char *name)
{
    pid_t child = fork();
    if (child == 0) {
        bd_device *device;
        _exit(bd_device_open(name, &device, NULL) != BD_OK);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

bd_train_params fixture_params(const bd_dataset *dataset, const char *precision)
{
    bd_train_params params;
    bd_error error = { 0 };
    bd_train_params_init(&params);
    params.model = fixture_mlp;
    params.model_name = "fixture";
    params.dataset = dataset;
    params.batch = FIXTURE_BATCH;
    params.epochs = 3;
    params.optimizer.rate = 0.1f;
    params.optimizer.schedule = BD_SCHEDULE_CONSTANT;
    must(bd_precision_parse(precision, &params.precision, &error), &error);
    return params;
}

bd_train_event fixture_run(bd_device *device, const bd_train_params *params)
{
    bd_trainer *trainer = NULL;
    bd_train_event event;
    bd_error error = { 0 };
    must(bd_trainer_create(device, params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, &event, &error), &error);
    bd_trainer_destroy(&trainer);
    ck_assert_ptr_null(trainer);
    return event;
}
