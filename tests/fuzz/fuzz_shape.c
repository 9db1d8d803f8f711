/* libFuzzer: any text as --shape of `binade bench`, all suites asked for; every size that comes out is a size. */
#include "../../apps/bench.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = fuzz_text(bytes, size);
    bench_settings settings = { 0 };
    bd_error error;
    memset(settings.asked, true, sizeof settings.asked);
    bd_status status = bench_parse_shapes(text, &settings, &error);
    if (status && (!error.message[0] || strpbrk(error.message, "\r\n")))
        abort();
    for (size_t i = 0; i < settings.shape_count && !status; i++)
        for (int d = 0; d < settings.shapes[i].shape.rank; d++)
            if (settings.shapes[i].shape.size[d] < 1 || settings.shapes[i].shape.size[d] > INT64_C(1) << 40)
                abort();
    free(settings.shapes);
    free(text);
    return 0;
}
