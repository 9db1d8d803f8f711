/* Claims about trained networks: what a comparison must show of their accuracy, loss or time. */
#include "reproduce.h"
#include <math.h>
#include <string.h>

/* The study's recipe (arXiv:2305.10947). */
#define STUDY "--precision fp32,fp16,mixed --epochs 100 --batch 256 --lr 0.01 --schedule constant"

/* Whether the data that a claim needs was named; else the finding says so. */
static bool has_data(const char *data, const char *what, finding *f)
{
    if (data)
        return true;
    f->verdict = VERDICT_NOT_RUN;
    finding_add(f, "%s", what);
    return false;
}

static bd_status compare_gaps(reproduction *self, const char *name, const char *data, int64_t seeds,
                              const char *arguments, gap_judge *judge, bd_error *error)
{
    judge->f->verdict = VERDICT_HOLDS;
    return reproduce_compare(self, name, data, seeds, arguments, reproduce_judge_gaps, judge, error);
}

bd_status reproduce_pure_half(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "fp16", -0.5, 0.5 }, { "mixed", -0.5, 0.5 } };
    return compare_gaps(self, "R2", self->data, 5, "--model mlp,lenet --precision fp32,fp16,mixed",
                        &(gap_judge){ bounds, 2, 0, 0, f }, error);
}

static const char no_cifar[] = "needs CIFAR-10: --cifar10 FILE, a folder or an archive of its images";

bd_status reproduce_resnet(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "fp16", -0.6, 0.6 }, { "mixed", -0.6, 0.6 } };
    if (!has_data(self->cifar, no_cifar, f))
        return BD_OK;
    return compare_gaps(self, "R3", self->cifar, 3, "--model resnet32 " STUDY, &(gap_judge){ bounds, 2, 79.5, 82.5, f },
                        error);
}

bd_status reproduce_vit(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "fp16", -0.8, 0.8 }, { "mixed", -0.8, 0.8 } };
    if (!has_data(self->cifar, no_cifar, f))
        return BD_OK;
    return compare_gaps(self, "R4", self->cifar, 3, "--model vit8 --momentum 0 " STUDY,
                        &(gap_judge){ bounds, 2, 0, 0, f }, error);
}

bd_status reproduce_repairs(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "bf16", -100, -0.8 }, { "bf16-sr", -0.7, 0.7 }, { "bf16-kahan", -0.7, 0.7 } };
    return compare_gaps(self, "R11", self->data, 5,
                        "--model mlp --precision fp32,bf16,bf16-sr,bf16-kahan --lr 0.005 --epochs 10",
                        &(gap_judge){ bounds, 3, 0, 0, f }, error);
}

bd_status reproduce_fp8(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "fp8", -0.5, 0.5 } };
    return compare_gaps(self, "R12", self->data, 5, "--model mlp --precision fp32,fp8",
                        &(gap_judge){ bounds, 1, 0, 0, f }, error);
}

/* Fewer bits than eight are told, not judged. */
bd_status reproduce_learned(reproduction *self, finding *f, bd_error *error)
{
    static const gap_bound bounds[] = { { "int8-qat", -0.5, 0.5 } };
    return compare_gaps(self, "R15", self->data, 5,
                        "--model mlp,lenet --precision fp32,int8-qat,int4-qat,"
                        "int4-qat,qw=int3,qa=int3,int4-qat,qw=int2,qa=int2",
                        &(gap_judge){ bounds, 1, 0, 0, f }, error);
}

/* ---- R5: steps ---- */

static double step_of(const comparison *found, size_t network, const char *precision, int64_t seed)
{
    for (size_t i = 0; i < found->row_count; i++)
        if (found->rows[i].model == found->models[network] && !strcmp(found->rows[i].precision, precision))
            return found->rows[i].runs[seed].state == RUN_DONE ? found->rows[i].runs[seed].last.step_ms : NAN;
    return NAN;
}

/* Over the seeds, each with the mean over the networks. */
static interval speed_up(const comparison *found, const char *precision)
{
    double means[MOST_SEEDS];
    for (int64_t s = 0; s < found->seeds; s++) {
        means[s] = 0;
        for (size_t m = 0; m < found->model_count; m++)
            means[s] += step_of(found, m, precision, s) / step_of(found, m, "fp16", s) / (double)found->model_count;
    }
    return interval_of(means, (size_t)found->seeds);
}

static void judge_speed(void *user, const comparison *found)
{
    finding *f = user;
    const interval single = speed_up(found, "fp32"), mixed = speed_up(found, "mixed");
    f->verdict = verdict_both(verdict_between(&single, 1.6, INFINITY), verdict_between(&mixed, 1.3, INFINITY));
    finding_add(f, "a step of fp32 takes ");
    finding_add_interval(f, &single, 1, 2);
    finding_add(f, " times as long as one of fp16, a step of mixed ");
    finding_add_interval(f, &mixed, 1, 2);
    finding_add(f, " times: means of %zu networks, ", found->model_count);
    finding_add_size(f, found);
}

bd_status reproduce_speed(reproduction *self, finding *f, bd_error *error)
{
    if (!has_data(self->cifar, no_cifar, f))
        return BD_OK;
    if (!*bd_device_get_info(self->device)->matrix_units) {
        f->verdict = VERDICT_NOT_RUN;
        finding_add(f, "the claim is about GPUs with matrix units, and this device has none");
        return BD_OK;
    }
    return reproduce_compare(self, "R5", self->cifar, 3,
                             "--model alexnet,vgg16,vgg19,resnet32,resnet56,resnet110,densenet121,densenet169,xception,"
                             "mobilenetv2,vit8,vit12 --precision fp32,fp16,mixed --max-steps 100 --batch 256 --lr 0.01 "
                             "--schedule constant --on-nan continue",
                             judge_speed, f, error);
}

/* ---- R18: character models ---- */

typedef struct loss_judge {
    double low, high;
    finding *f;
} loss_judge;

/* The least validation loss of each run, as nanoGPT keeps its best checkpoint; and what it is in the end. */
static void judge_loss(void *user, const comparison *found)
{
    enum { MOST_RUNS = 64 };
    const loss_judge *self = user;
    const combination *row = &found->rows[0];
    double least[MOST_RUNS];
    size_t count = 0;
    for (int64_t i = 0; i < found->seeds && count < MOST_RUNS; i++) {
        const run_result *run = &row->runs[i];
        double loss = INFINITY;
        for (int64_t e = 0; e < run->epoch_count; e++)
            loss = fmin(loss, run->epochs[e].test_loss);
        if (run->state == RUN_DONE)
            least[count++] = loss;
    }
    const interval loss = interval_of(least, count), last = summarize(found, row).measures[MEASURE_NLL];
    self->f->verdict = verdict_both(self->f->verdict, verdict_between(&loss, self->low, self->high));
    finding_add(self->f, "%s%s ", *self->f->result ? "; " : "", found->models[0]);
    finding_add(self->f, "%.4f (%.4f to %.4f) nats at its least, %.4f in the end, ", loss.mean, loss.low, loss.high,
                last.mean);
    finding_add_size(self->f, found);
}

bd_status reproduce_characters(reproduction *self, finding *f, bd_error *error)
{
    if (!has_data(self->text, "needs a text, for the published numbers tinyshakespeare: --text FILE", f))
        return BD_OK;
    f->verdict = VERDICT_HOLDS;
    bd_status status = reproduce_compare(self, "R18-nano", self->text, 3, "--model gpt-nano --precision fp32",
                                         judge_loss, &(loss_judge){ 1.80, 1.95, f }, error);
    if (status)
        return status;
    if (bd_device_get_info(self->device)->type == BD_DEVICE_CPU) { /* some days */
        f->verdict = verdict_both(f->verdict, VERDICT_OPEN);
        finding_add(f, "; gpt-mini was left out, as this is a CPU");
        return BD_OK;
    }
    return reproduce_compare(self, "R18-mini", self->text, 3, "--model gpt-mini --precision fp32", judge_loss,
                             &(loss_judge){ 1.45, 1.52, f }, error);
}
