/* Asking a model: with which weights, and what it makes of images.
 *
 * The latter by the evaluation's program, one batch after the other, over rows that take the place of the
 * test set's for a while. */
#include "trainer.h"

#include "store.h"

/* One batch of `rows` images; they are read before the next write, since a device does its work in order. */
static bd_status predict_batch(bd_trainer *trainer, const uint8_t *images, int64_t rows, float *logits, bd_error *error)
{
    const uint64_t row_bytes = (uint64_t)trainer->test.shape.row_bytes;
    const uint64_t classes = (uint64_t)trainer->params.dataset->classes;
    uint32_t control[BD_CONTROL_BYTES / 4] = { 0 };
    control[BD_CONTROL_BATCH] = control[BD_CONTROL_COUNT] = (uint32_t)rows;
    control[BD_CONTROL_RATE_COUNT] = 1;
    bd_control_set_float(control, BD_CONTROL_SCALE, 1);
    bd_status status =
        bd_store_write_part(trainer->store, "test/images", 0, images, (uint64_t)rows * row_bytes, NULL, error);
    if (!status)
        status = bd_store_write(trainer->store, "test/control", control, sizeof control, error);
    if (!status)
        status = bd_program_run(trainer->test.program, 1, error);
    return status ? status
                  : bd_store_read_part(trainer->store, "test/logits", 0, logits,
                                       (uint64_t)rows * classes * sizeof *logits, NULL, error);
}

bd_status bd_trainer_predict(bd_trainer *trainer, const uint8_t *images, int64_t count, float *logits, bd_error *error)
{
    const bd_feed_shape *shape = &trainer->test.shape;
    const bd_dataset *data = trainer->params.dataset;
    bd_status status = bd_trainer_check_ready(trainer, error);
    if (status)
        return status;
    if (!trainer->test.program)
        return bd_fail(error, BD_ERROR_ARGUMENT, "data set '%s' has no test set, whose program is what predicts",
                       data->name);
    if (data->tokens)
        return bd_fail(error, BD_ERROR_ARGUMENT, "data set '%s' is a text; images are what is predicted", data->name);
    if (count < 0 || (!images && count != shape->count))
        return bd_fail(error, BD_ERROR_ARGUMENT, "%lld images to predict: the test set has %lld", (long long)count,
                       (long long)shape->count);
    if (!images)
        images = data->test.images;
    /* The order of the test set's rows is that of the device's for so many of them, streamed or not. */
    const int64_t most = shape->batch < shape->count ? shape->batch : shape->count;
    for (int64_t first = 0; first < count && !status; first += most) {
        const int64_t rows = count - first < most ? count - first : most;
        status = predict_batch(trainer, images + first * shape->row_bytes, rows, logits + first * data->classes, error);
    }
    const bd_status restored = bd_feed_restore(trainer->test.feed, status ? NULL : error);
    return bd_device_explain_loss(trainer->device->info.id, status ? status : restored, "while predicting", error);
}

bd_status bd_trainer_take_weights(bd_trainer *trainer, const char *path, bd_error *error)
{
    bd_status status = bd_trainer_check_ready(trainer, error);
    return status ? status
                  : bd_checkpoint_take_weights(path, trainer->store, &trainer->layout, &trainer->params, error);
}
