/* What the files of test_train share: the device that was named, the data, and the policies. */
#ifndef BINADE_TESTS_TEST_TRAIN_H
#define BINADE_TESTS_TEST_TRAIN_H

#include "train_fixture.h"

#include <check.h>

enum {
    POLICY_COUNT = 9,
    PLAIN_POLICIES = 5,
    STREAMED_BYTES = 7000, /* four batches in each half of the training set's ring, one in the test set's */
};

extern const char *device_name;
extern bool plain; /* no policies with simulated formats */
extern bool learns_only;
extern bd_device *device;
extern bd_dataset *dataset;
/* Those that no format is simulated for come first; the last is for a layer that not all models have. */
extern const char *const policies[POLICY_COUNT];

/* test_train_model.c */
void add_model_tests(TCase *tests);
/* test_train_rounding.c */
void add_rounding_tests(TCase *tests);

#endif
