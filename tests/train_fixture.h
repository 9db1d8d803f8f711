/* Small data sets, models and runs for the tests of training. */
#ifndef BINADE_TESTS_TRAIN_FIXTURE_H
#define BINADE_TESTS_TRAIN_FIXTURE_H

#include <binade/binade.h>

enum { FIXTURE_TRAIN = 200, FIXTURE_TEST = 52, FIXTURE_BATCH = 16, FIXTURE_CLASSES = 4, FIXTURE_SIDE = 6 };

/* 6x6 images of four classes, a bright quadrant in noise; 200 are no multiple of the batch, nor are 52. */
bd_dataset *fixture_dataset(void);
void fixture_free(bd_dataset **dataset);

/* 36-16-4 with ReLU. */
bd_tensor fixture_mlp(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);
/* Convolution, batch normalisation, pooling, dropout, linear: everything that has a state or draws numbers. */
bd_tensor fixture_net(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user);

/* Asked in another process: a driver that has started its threads does not survive the forks of the tests. */
bool fixture_device_opens(const char *name);

/* Ends the test with the message unless `status` is BD_OK. */
void must(bd_status status, const bd_error *error);

/* The MLP, batch 16, 3 epochs, rate 0.1, no reports. */
bd_train_params fixture_params(const bd_dataset *dataset, const char *precision);
/* Creates, runs, destroys; ends the test if that fails. */
bd_train_event fixture_run(bd_device *device, const bd_train_params *params);

#endif
