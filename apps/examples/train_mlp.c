/* Trains a multi-layer perceptron on Fashion-MNIST in mixed precision, through Binade's public interface alone.
 *     train_mlp DEVICE [EPOCHS]      DEVICE as in `binade devices`, 1 epoch where not said */
#include <binade/binade.h>
#include <stdio.h>
#include <stdlib.h>

/* The model: plain calls that append to the graph. No check is needed here, since a graph remembers its first error. */
static bd_tensor mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    x = bd_flatten(graph, x);
    x = bd_relu(graph, bd_linear(graph, x, 128, true, "hidden1"));
    x = bd_relu(graph, bd_linear(graph, x, 64, true, "hidden2"));
    return bd_linear(graph, x, classes, true, "output");
}

static void on_event(void *user, const bd_train_event *event)
{
    (void)user;
    if (event->kind == BD_TRAIN_EPOCH)
        printf("epoch %d: test accuracy %.2f%%, %.0f images/s\n", (int)event->epoch, event->test_accuracy * 100,
               event->images_per_second);
}

static bd_status train(const char *device_name, int epochs, bd_error *error)
{
    bd_dataset *dataset = NULL;
    bd_device *device = NULL;
    bd_trainer *trainer = NULL;
    bd_train_params params;
    bd_train_params_init(&params); /* SGD with momentum, batch 256 */
    params.model = mlp;
    params.model_name = "mlp";
    params.epochs = epochs;
    params.on_event = on_event;

    bd_status status = bd_precision_parse("mixed", &params.precision, error);
    if (!status)
        status = bd_dataset_open("fashion-mnist", &dataset, error);
    if (!status)
        status = bd_device_open(device_name, &device, error);
    params.dataset = dataset;
    if (!status)
        status = bd_trainer_create(device, &params, &trainer, error);
    if (!status)
        status = bd_trainer_run(trainer, NULL, error);

    bd_trainer_destroy(&trainer); /* destroying what was never made is fine */
    bd_device_close(&device);
    bd_dataset_close(&dataset);
    return status;
}

int main(int argc, char **argv)
{
    bd_error error;
    if (argc < 2) {
        fputs("usage: train_mlp DEVICE [EPOCHS]\n", stderr);
        return 2;
    }
    if (!train(argv[1], argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1, &error))
        return 0;
    fprintf(stderr, "train_mlp: %s\n", error.message);
    return 1;
}
