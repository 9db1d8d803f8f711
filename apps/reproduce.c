/* binade reproduce: what the published work claims, measured here. */
#include "reproduce.h"
#include "app.h"
#include "json.h"
#include "limited.h"
#include "options.h"
#include <stdlib.h>
#include <string.h>

typedef struct claim {
    const char *name, *claim, *rule;
    claim_function run; /* NULL: takes longer than this command should, or is not built; `how` tells */
    const char *how;    /* the command that makes the numbers; of those that run here NULL */
} claim;

/* The numbers and rules are those that were written down before anything was run: docs/study.md. */
static const claim claims[] = {
    { "R1", "Gamma >= 2 delta: the same prediction; delta grows from FP16 over BF16, INT8, E4M3 to E5M2 (arXiv:2305.10947)",
      "no violation, and mean deltas in that order", reproduce_delta, NULL },
    { "R2", "FP16 classifies as well as FP32 (arXiv:2301.12809)", "95% interval of FP16 - FP32 within 0.5 points, 5 seeds", NULL,
      "binade compare --model mlp,lenet --seeds 5" },
    { "R3", "ResNet-32 on CIFAR-10: 80.9 in FP16, FP32 and mixed (arXiv:2305.10947)", "each 79.5 to 82.5, gap at most 0.6", NULL,
      "docs/study.md: 100 epochs on a GPU" },
    { "R4", "ViT-8 on CIFAR-10: 71.0, 71.3, 71.2 (arXiv:2305.10947)", "gap at most 0.8", NULL,
      "docs/study.md: 100 epochs on a GPU" },
    { "R5", "FP16 is 1.6 times as fast as FP32, 1.3 times as mixed (arXiv:2305.10947)", "means of twelve networks on a GPU", NULL,
      "docs/study.md and docs/benchmarks.md" },
    { "R6", "Adam's epsilon kills FP16: 1e-8 and 1e-7 vanish (arXiv:2301.12809)",
      "1e-8 and 1e-7 NaN within 10 steps; 1e-4, 1e-3 and 1e-6 in the root within 0.7 of FP32's accuracy", reproduce_epsilon, NULL },
    { "R7", "FP16 needs loss scaling where gradients are small (arXiv:1710.03740)",
      "FP32 and BF16 the same at 1 and 2^-18; FP16 at 2^-18 at chance; dynamic scaling within 1.5", reproduce_scaling, NULL },
    { "R8", "5% of gradients lie below 2^-24 (arXiv:1710.03740)", "the share falls with the scale", NULL,
      "binade train --precision auto tells the share by layer, at a scale of 65536" },
    { "R9", "PyTorch's GradScaler", "the same scale after every step of a script of overflows", reproduce_scaler, NULL },
    { "R10", "BF16's rounding floor grows as the learning rate falls; Kahan's does not (arXiv:2010.06192)",
      "to nearest the error rises with each smaller rate; with Kahan within a factor of 2", reproduce_rounding_floor, NULL },
    { "R11", "stochastic rounding and Kahan repair BF16 (arXiv:2010.06192)", "nearest 0.8 below FP32, both repairs within 0.7",
      NULL, "binade compare --precision fp32,bf16,bf16-sr,bf16-kahan --lr 0.005 --epochs 10 --seeds 5" },
    { "R12", "FP8 matches FP32 (arXiv:2209.05433)", "gap at most 0.5", NULL, "binade compare --precision fp32,fp8 --seeds 5" },
    { "R13", "with heavy tails FP8 stays bounded and INT8 does not (arXiv:2408.02897)",
      "INT8's error below E4M3's for nu >= 15, above 5 times for nu = 3", reproduce_tails, NULL },
    { "R14", "signal to quantisation noise of Gaussian values", "within 0.1 dB", reproduce_sqnr, NULL },
    { "R15", "INT8 with learned steps matches FP32 (arXiv:1902.08153)", "gap at most 0.5", NULL,
      "binade compare --model mlp,lenet --precision fp32,int8-qat,int4-qat --seeds 5" },
    { "R16", "exponent bits matter more than mantissa bits (arXiv:2405.18710)", "mantissa gradual, exponent abrupt", NULL,
      "binade compare --model gpt-nano --data FILE.txt --precision fp32,qw=e8m3,qa=e8m3,fp32,qw=e5m7,qa=e5m7" },
    { "R17", "federated learning in FP8 (arXiv:2407.02610)", "at most 1 point lost, bytes by 2.9", reproduce_federated, NULL },
    { "R18", "character models: 1.88 and 1.47 nats (nanoGPT)", "1.80 to 1.95, 1.45 to 1.52", NULL,
      "binade train --model gpt-nano --data tinyshakespeare.txt" },
    { "R19", "quantised minima are flatter, or sharper", "which, with an interval", NULL, "not built yet" },
    { "R20", "bytes a parameter", "what the policy's formats add up to", reproduce_bytes, NULL },
};
enum { CLAIMS = sizeof claims / sizeof *claims };

typedef struct session {
    reproduction work;
    bool chosen[CLAIMS];
    bool any, quick, json, quiet;
    const char *device, *limit;
} session;

static const char *const verdicts[] = { "holds", "not decided", "fails", "not run here" };

static bd_status take_claim(void *user, const char *word, bd_error *error)
{
    session *self = user;
    const bool all = !strcmp(word, "all");
    bool found = false;
    for (int i = 0; i < CLAIMS; i++) {
        const bool fits = all || !strcasecmp(word, claims[i].name);
        self->chosen[i] |= fits;
        found |= fits;
    }
    self->any = true;
    return found ? BD_OK : bd_fail(error, BD_ERROR_ARGUMENT, "%s: no claim; there are R1 to R%d, and all", word, CLAIMS);
}

/* Of those named, or of all, with --quick or where none is named, those that run here. */
static void choose(session *self)
{
    for (int i = 0; i < CLAIMS; i++)
        self->chosen[i] = (self->chosen[i] || !self->any) && (claims[i].run || (self->any && !self->quick));
}

/* 80 columns, the text's lines behind the label. */
static void print_field(const char *label, const char *text)
{
    enum { WIDTH = 66 };
    for (bool first = true; *text; first = false) {
        size_t length = strlen(text);
        if (length > WIDTH)
            for (length = WIDTH; length > 1 && text[length] != ' '; length--)
                ;
        printf("  %-9s %.*s\n", first ? label : "", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

static void print_finding(const session *self, const claim *c, const finding *f)
{
    printf("%s: %s\n", c->name, verdicts[f->verdict]);
    print_field("claim", c->claim);
    print_field("rule", c->rule);
    if (f->verdict != VERDICT_NOT_RUN)
        print_field("result", f->result);
    char command[128];
    snprintf(command, sizeof command, "binade reproduce %s --device %s", c->name,
             bd_device_get_info(self->work.device)->id);
    print_field(c->run ? "again" : "see", c->run ? command : c->how);
    putchar('\n');
    fflush(stdout);
}

static json_t *finding_json(const claim *c, const finding *f)
{
    json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "claim", c->claim, "rule", c->rule, "verdict",
                            verdicts[f->verdict]);
    if (f->verdict != VERDICT_NOT_RUN)
        json_object_set_new(row, "result", json_text(f->result));
    else
        json_object_set_new(row, "see", json_text(c->how));
    return row;
}

static bd_status run(session *self, bd_error *error)
{
    bd_status status = limited_open_first(&self->work.progress, self->device, self->limit, &self->work.device, error);
    if (status)
        return status;
    choose(self);
    app_catch_interrupt();
    json_t *rows = json_array();
    int count[4] = { 0 };
    for (int i = 0; i < CLAIMS && !status; i++) {
        finding f = { .verdict = VERDICT_NOT_RUN };
        if (!self->chosen[i])
            continue;
        if (app_interrupted())
            status = bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted before %s", claims[i].name);
        else if (claims[i].run)
            status = claims[i].run(&self->work, &f, error);
        progress_clear(&self->work.progress);
        if (status)
            break;
        count[f.verdict]++;
        if (self->json)
            json_array_append_new(rows, finding_json(&claims[i], &f));
        else
            print_finding(self, &claims[i], &f);
    }
    if (self->json && !status) {
        json_t *document = json_pack("{s:i, s:o, s:O}", "format_version", APP_FORMAT_VERSION, "device",
                                     json_device(bd_device_get_info(self->work.device)), "claims", rows);
        json_dumpf(document, stdout, JSON_STYLE | JSON_INDENT(1));
        putchar('\n');
        json_decref(document);
    } else if (!status) {
        printf("%d hold, %d fail, %d not decided, %d not run here\n", count[VERDICT_HOLDS], count[VERDICT_FAILS],
               count[VERDICT_OPEN], count[VERDICT_NOT_RUN]);
    }
    json_decref(rows);
    return status;
}

static const char examples[] =
    "  binade reproduce                          the claims that a CPU can test in minutes\n"
    "  binade reproduce R1 R14                   two of them\n"
    "  binade reproduce all                      and what to do for the others\n"
    "\n"
    "A claim that fails is a result, and no error: docs/study.md has those of longer runs.\n";

int command_reproduce(int argc, char **argv)
{
    session self = { .work.steps = 60 };
    option_row rows[] = {
        OPTION("quick", FLAG, &self.quick, NULL, "of the claims named only those that run here, in minutes on a CPU"),
        OPTION("device", TEXT, &self.device, "DEVICE",
               "id, backend or part of a name, as `binade devices` tells them (the first)"),
        LIMIT_ROW(&self.limit),
        OPTION_IN("steps", INTEGER, &self.work.steps, "N", 1, 1e6, "of the trainings of R1 and R7; R6 takes three times as many (60)"),
        OPTION("json", FLAG, &self.json, NULL, "print one JSON document at the end"),
        OPTION("quiet", FLAG, &self.quiet, NULL, "no progress, only the findings"),
    };
    option_table table = { .command = "reproduce",
                           "[OPTION]... [all|R1|R2|...|R20]...",
                           "Tests what the published work claims, on this device.",
                           examples,
                           rows,
                           sizeof(rows) / sizeof(rows[0]),
                           "0 done, whatever the verdicts, 1 failed, 2 wrong usage, 3 the device was lost, 130 interrupted.\n",
                           take_claim,
                           &self };
    bool help = false;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help) {
        progress_init(&self.work.progress, "", self.quiet);
        status = run(&self, &error);
    }
    bd_device_close(&self.work.device);
    bd_dataset_close(&self.work.dataset);
    options_finish(&table);
    return status ? app_report(status, &error) : APP_DONE;
}
