/* libFuzzer: any bytes as the checkpoint of a run that has everything a checkpoint holds: master weights, an
 * optimizer's state, statistics. What is accepted belongs to this run. */
#include "../../engine/trainer.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static uint8_t pixels[2 * 4], labels[2];
static bd_dataset dataset = { .name = "fuzz",
                              .height = 2,
                              .width = 2,
                              .channels = 1,
                              .classes = 2,
                              .mean = 0.5f,
                              .deviation = 1,
                              .train = { 2, pixels, labels } };
static bd_trainer *trainer;

static bd_tensor net(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)user;
    x = bd_linear(graph, bd_flatten(graph, x), 2, true, "fc1");
    return bd_linear(graph, bd_relu(graph, bd_batch_norm(graph, x, training, 0.9f, 1e-3f, "norm")), classes, false,
                     "fc2");
}

/* FUZZ_SAVE names a file that the run's own checkpoint is written to: the corpus begins with it. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    bd_device *device;
    bd_train_params params;
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    bd_train_params_init(&params);
    params.model = net;
    params.model_name = "fuzz";
    params.dataset = &dataset;
    params.batch = 1;
    params.optimizer.kind = BD_OPTIMIZER_ADAM;
    const char *save = getenv("FUZZ_SAVE");
    if (bd_precision_parse("mixed,stat=f16", &params.precision, NULL) || bd_device_open("reference", &device, NULL) ||
        bd_trainer_create(device, &params, &trainer, NULL) || (save && bd_trainer_save(trainer, save, NULL)))
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bd_run_state state;
    if (bd_checkpoint_load(fuzz_file(bytes, size), trainer->store, &trainer->layout, &trainer->params, &state, NULL))
        return 0;
    /* Its words say the same as its texts, which begin with the format's name. */
    if (!memmem(bytes, size, "binade-checkpoint-1", 19))
        abort();
    return 0;
}
