/* Text from a language model: a checkpoint of one, on any device, goes on with a text token by token. */
#ifndef BINADE_GENERATE_H
#define BINADE_GENERATE_H

#include <binade/device.h>
#include <binade/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bd_generator bd_generator;

typedef struct bd_generator_params {
    bd_model_function model; /* that the checkpoint was trained with */
    const void *model_user;
    double temperature; /* logits are divided by it: below 1 likely tokens become likelier; 0: always the likeliest */
    int64_t top_k;      /* only the so many likeliest are drawn from; 0: all */
    uint64_t seed;      /* the same seed draws the same numbers, for each token its own */
} bd_generator_params;

/* Reads a checkpoint and its vocabulary. BD_ERROR_ARGUMENT where it is not one of a language model. */
BD_API bd_status bd_generator_open(const char *checkpoint, bd_generator **generator, bd_error *error);
BD_API void bd_generator_close(bd_generator **generator);
/* The name of its model, as bd_train_params.model_name had it. */
BD_API const char *bd_generator_model(const bd_generator *generator);

/* Builds the model in the checkpoint's precision, and puts the weights on the device, which must outlive the
 * generator. */
BD_API bd_status bd_generator_start(bd_generator *generator, bd_device *device, const bd_generator_params *params,
                                    bd_error *error);
/* Adds `text` to what stands before the next token. BD_ERROR_ARGUMENT names what of it is not in the vocabulary. */
BD_API bd_status bd_generator_prompt(bd_generator *generator, const char *text, bd_error *error);
/* Draws the next token and adds it. *text becomes what it stands for, a character in UTF-8 or a byte, good until the
 * generator is closed. Where nothing stands before it, it comes as after the end of a line. */
BD_API bd_status bd_generator_next(bd_generator *generator, const char **text, bd_error *error);

#ifdef __cplusplus
}
#endif
#endif
