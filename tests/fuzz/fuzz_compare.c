/* libFuzzer: any bytes as an earlier result for `binade bench --compare`. */
#include "../../apps/bench.h"
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static double seconds[] = { 1e-3, 1.01e-3, 0.99e-3 };
    bd_device_info device = { .backend = "opencl", .name = "pocl" };
    bench_row first = { .suite = BENCH_GEMM,
                        .name = "a",
                        .variant = "own",
                        .policy = "fp32",
                        .unit = BENCH_GFLOPS,
                        .flops = 1e9,
                        .wall = { seconds, 3 } };
    bench_row second = {
        .suite = BENCH_LAUNCH, .name = "b", .variant = "raw", .unit = BENCH_MICROS, .count = 1, .clock = { seconds, 3 }
    };
    bench_row *rows[] = { &first, &second };
    bench self = { .devices = &device, .device_count = 1, .rows = rows, .row_count = 2 };
    json_t *document = NULL;
    const char *path = fuzz_file(bytes, size);
    if (bench_compare_load(path, &document, NULL) == BD_OK) {
        bench_compare(&self, document, path);
        for (int i = 0; i < 2; i++)
            if (rows[i]->before && (!(rows[i]->before > 0) || isnan(rows[i]->ratio)))
                abort();
    }
    json_decref(document);
    return 0;
}
