/* Writes report.html and results.json of made-up results into the folder named, for test_cli.py to look at without
 * hours of training: two good devices, hostile names, a diverged run, a failed and an unfinished combination, and the
 * plain text table on stdout. `report_sample DIR plain` leaves the hostile parts out; a number after it is that of the
 * seeds. */
#include "apps/app.h"
#include "apps/report.h"
#include "apps/results.h"
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 5, STEPS = 1175 };

/* A number in [-1, 1] that looks random and is the same everywhere. */
static double noise(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 23) - 1;
}

static void learn(run_result *run, double goodness, double images_per_second, uint64_t bytes, bool diverges)
{
    unsigned state = (unsigned)run->seed * 7919u + (unsigned)(goodness * 1e6);
    double shift = 0.004 * noise(&state);
    bd_train_event event = { .epochs = EPOCHS,
                             .steps = STEPS,
                             .steps_per_epoch = STEPS / EPOCHS,
                             .step_ms = 256e3 / images_per_second,
                             .images_per_second = images_per_second,
                             .planned_device_bytes = bytes,
                             .peak_device_bytes = bytes,
                             .overflows = diverges ? 7 : 0,
                             .dispatches_per_step = 15 };
    for (int step = 5; step <= STEPS; step += 5) {
        double epoch = (double)step / STEPS * EPOCHS;
        event.kind = BD_TRAIN_PROGRESS;
        event.step = step;
        event.train_loss = 0.25 + 2.05 * exp(-epoch * 3) + 0.15 * exp(-epoch / 3) + 0.03 * noise(&state);
        if (diverges && epoch > 2.5)
            event.train_loss = epoch > 3 ? NAN : 100;
        run_record(run, &event);
        if (step % (STEPS / EPOCHS))
            continue;
        event.kind = BD_TRAIN_EPOCH;
        event.test_accuracy = goodness + shift - 0.08 * exp(-epoch / 1.5) + 0.002 * noise(&state);
        event.test_loss = 1 - event.test_accuracy;
        run_record(run, &event);
    }
    event.kind = BD_TRAIN_DONE;
    run_record(run, &event);
    run->state = RUN_DONE;
}

/* What a calibrated network and its rounded copies might have measured, further off the rougher they are. */
static void measure_all(run_result *run, int roughness)
{
    unsigned state = (unsigned)run->seed * 2654435761u ^ (unsigned)roughness * 40503u << 12;
    const double accuracy = run->last.test_accuracy, rough = roughness;
    run->measures[MEASURE_ACCURACY] = accuracy;
    run->measures[MEASURE_NLL] = 0.31 + 0.02 * rough + 0.004 * noise(&state);
    run->measures[MEASURE_BRIER] = 0.17 + 0.001 * rough + 0.002 * noise(&state);
    run->measures[MEASURE_ECE] = 0.02 + 0.002 * rough + 0.004 * noise(&state);
    run->measures[MEASURE_OOD_AUROC] = 0.62 + 0.01 * noise(&state);
    if (roughness) {
        run->measures[MEASURE_DELTA_MEAN] = 1.4e-4 * rough * (1 + 0.1 * noise(&state));
        run->measures[MEASURE_DELTA_MOST] = 0.004 * rough;
        run->measures[MEASURE_GAMMA_LEAST] = 3e-4 * (1 + 0.5 * noise(&state));
        run->measures[MEASURE_DECIDED] = 0.998;
        run->measures[MEASURE_DISAGREEMENTS] = 0.0004 * rough;
        run->measures[MEASURE_VIOLATIONS] = 0;
        for (int m = MEASURE_ROUNDED; m < MEASURE_COUNT; m++)
            run->measures[m] = run->measures[m - MEASURE_ROUNDED + MEASURE_DELTA_MEAN] / 10;
    }
    for (int b = 2; b < RELIABILITY_BINS; b++) {
        const double confidence = (b + 0.5) / RELIABILITY_BINS;
        run->bins[b] = (reliability_bin){ 40 + b * b * b * 3, confidence,
                                          confidence * (1 - 0.06 * sin(3.14 * confidence)) + 0.03 * noise(&state) };
    }
}

static void fill(comparison *self, bool hostile)
{
    for (size_t i = 0; i < self->row_count; i++) {
        combination *row = &self->rows[i];
        size_t p = i % self->precision_count, d = i / self->precision_count % self->device_count;
        for (int s = 0; s < self->seeds; s++) {
            run_result *run = &row->runs[s];
            if (hostile && i + 1 == self->row_count)
                continue;
            if (hostile && (i == 4 || (i == 7 && s == 1))) {
                run->state = RUN_FAILED;
                snprintf(run->reason, sizeof(run->reason),
                         "<b>out of memory</b> & \"more\" \xff\x1b[31m of the planned 123 MiB");
                continue;
            }
            learn(run, (row->model == self->models[0] ? 0.884 : 0.897) - 0.001 * (double)p,
                  (13000.0 - 2600 * (double)p) * (d ? 0.8 : 1), p == 1 ? 3400000 : 6300000 + p * 1900000,
                  hostile && i == 1 && s == 2);
            measure_all(run, (int)p);
            if (hostile && i == 2 && s == 0)
                run->measures[MEASURE_NLL] = run->measures[MEASURE_BRIER] = NAN;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return APP_USAGE;
    setlocale(LC_CTYPE, "");
    bool hostile = argc < 3;
    const int seeds = argc > 3 ? atoi(argv[3]) : 3;
    bd_dataset dataset = { .name = "fashion-mnist",
                           .height = 28,
                           .width = 28,
                           .channels = 1,
                           .classes = 10,
                           .train = { .count = 60000 },
                           .test = { .count = 10000 } };
    bd_device_info devices[] = {
        { .id = "opencl:0",
          .backend = "opencl",
          .name = "pthread-Intel(R) Xeon(R) CPU",
          .vendor = "GenuineIntel",
          .driver = "Portable Computing Language 3.1",
          .type = BD_DEVICE_CPU,
          .limits = { .memory_bytes = 6442450944,
                      .max_workgroup_items = 4096,
                      .shared_bytes = 524288,
                      .compute_units = 2 },
          .half = { .storage = true,
                    .conversion_exact = true,
                    .rounding = BD_ROUNDING_NEAREST_EVEN,
                    .subnormals = true,
                    .subnormals_f32 = true } },
        { .id = "vulkan:0",
          .backend = "vulkan",
          .name = "llvmpipe (LLVM 15.0.6, 256 bits)",
          .vendor = "Mesa",
          .driver = "llvmpipe Mesa 22.3.6",
          .type = BD_DEVICE_CPU,
          .matrix_units = "",
          .limits = { .memory_bytes = 2147483648,
                      .max_workgroup_items = 1024,
                      .shared_bytes = 32768,
                      .subgroup_size = 8 },
          .half = { .storage = true,
                    .arithmetic = true,
                    .arithmetic_exact = true,
                    .rounding = BD_ROUNDING_TOWARD_ZERO,
                    .subnormals_f32 = true } },
    };
    if (hostile)
        strcpy(devices[1].name, "<script>alert('x')</script> \xc3\x28 & \"co\"");
    const char *models[] = { "mlp:784-512-512-10", hostile ? "a<i>\"'&model" : "lenet" };
    const char *precisions[] = { "fp32", "fp16", hostile ? "mixed,scale=1024;linear1:w=f32,a=f32" : "mixed" };
    comparison self = {
        .dataset = &dataset,
        .description = "SGD, learning rate 0.1, momentum 0.9, batch 256",
        .options = json_object(),
        .command = hostile ? "binade compare --model '<&>'" : "binade compare --epochs 5 --seeds 3",
        .epochs = EPOCHS,
        .length = EPOCHS,
        .seeds = seeds,
        .ood = "noise:3",
        .devices = devices,
        .device_count = 2,
        .models = models,
        .precisions = precisions,
        .model_count = 2,
        .precision_count = 3,
        .started = "2026-07-29T12:00:00Z",
        .seconds = 754,
        .finished = !hostile,
    };
    bd_error error = { 0 };
    char *report = app_format("%s/report.html", argv[1]), *results = app_format("%s/results.json", argv[1]);
    bd_status status = report && results ? comparison_init(&self, 1, &error) : BD_ERROR_MEMORY;
    if (!status) {
        fill(&self, hostile);
        comparison_print(stdout, &self);
        status = app_replace_file(report, report_write, &self, &error);
    }
    if (!status)
        status = app_replace_file(results, comparison_write_json, &self, &error);
    comparison_finish(&self);
    json_decref(self.options);
    free(report);
    free(results);
    return status ? app_report(status, &error) : APP_DONE;
}
