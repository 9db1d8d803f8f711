/* libFuzzer: any bytes as a run in results.json for `binade compare --resume`; what is accepted can be written, read
 * again and shown. */
#include "../../apps/report.h"
#include "../../apps/results.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 3, SEEDS = 2, ROWS = 2 };

static void show(comparison *self)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        abort();
    comparison_write_json(file, self);
    report_write(file, self);
    comparison_print(file, self);
    if (fclose(file) || !size)
        abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *models[] = { "mlp" }, *precisions[ROWS] = { "fp32", "fp16" };
    bd_dataset dataset = { .name = "made up", .classes = 10, .train = { .count = 100 }, .test = { .count = 10 } };
    bd_device_info device = { .id = "reference", .backend = "reference" };
    comparison self = { .dataset = &dataset,
                        .command = "binade compare",
                        .ood = "noise:3",
                        .epochs = EPOCHS,
                        .length = EPOCHS,
                        .seeds = SEEDS,
                        .devices = &device,
                        .device_count = 1,
                        .models = models,
                        .precisions = precisions,
                        .model_count = 1,
                        .precision_count = ROWS };
    self.options = json_object();
    json_t *object = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, NULL);
    bool taken = false;
    if (!self.options || comparison_init(&self, 1, NULL))
        abort();
    for (int row = 0; object && row < ROWS; row++)
        for (int seed = 0; seed < SEEDS; seed++) {
            run_result *run = &self.rows[row].runs[seed];
            if (run_from_json(run, EPOCHS, object, NULL))
                continue;
            taken = true;
            const run_state state = run->state;
            if (run_round(run, EPOCHS, NULL) || run->state != state)
                abort();
        }
    if (taken)
        show(&self);
    /* A whole file is another matter: it is refused, but must not do harm. */
    if (!comparison_resume(&self, fuzz_file(bytes, size), NULL))
        show(&self);
    json_decref(object);
    json_decref(self.options);
    comparison_finish(&self);
    return 0;
}
