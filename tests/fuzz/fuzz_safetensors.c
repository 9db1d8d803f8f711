/* libFuzzer: any bytes as a safetensors file; whatever is accepted must lie within the file. */
#include "../../engine/safetensors.h"
#include "fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bd_safetensors *file;
    volatile uint8_t sink = 0;
    if (bd_safetensors_parse("fuzz", bytes, size, &file, NULL) != BD_OK)
        return 0;
    for (size_t i = 0; i < bd_safetensors_count(file); i++) {
        const bd_safe_tensor *tensor = bd_safetensors_at(file, i);
        size_t length = (size_t)bd_shape_elements(&tensor->shape) * bd_safe_type_size(tensor->type);
        for (size_t j = 0; j < length; j++)
            sink ^= ((const uint8_t *)tensor->data)[j];
        if (!bd_safetensors_find(file, tensor->name))
            abort();
    }
    bd_safetensors_metadata(file, "model");
    bd_safetensors_close(&file);
    return 0;
}
