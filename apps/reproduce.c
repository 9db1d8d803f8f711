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
    claim_function run; /* NULL: not built */
    bool quick; /* minutes on a CPU; the others train for longer, or need data that do not come with the program */
} claim;

/* The numbers and rules are those that were written down before anything was run: docs/study.md. */
static const claim claims[] = {
    { "R1",
      "Gamma >= 2 delta: the same prediction; delta grows from FP16 over BF16, INT8, E4M3 to E5M2 (arXiv:2305.10947)",
      "no violation, and mean deltas in that order", reproduce_delta, true },
    { "R2", "FP16 and mixed precision classify as well as FP32 (arXiv:2301.12809)",
      "MLP and LeNet: 95% interval of the difference from FP32 within 0.5 points, 5 seeds", reproduce_pure_half,
      false },
    { "R3", "ResNet-32 on CIFAR-10: 80.9 in FP16, FP32 and mixed (arXiv:2305.10947)",
      "each 79.5 to 82.5, gap at most 0.6", reproduce_resnet, false },
    { "R4", "ViT-8 on CIFAR-10: 71.0, 71.3, 71.2 (arXiv:2305.10947)", "gap at most 0.8", reproduce_vit, false },
    { "R5", "FP16 is 1.6 times as fast as FP32, 1.3 times as mixed (arXiv:2305.10947)",
      "means of twelve networks' steps at least that, on a GPU with matrix units", reproduce_speed, false },
    { "R6", "Adam's epsilon kills FP16: 1e-8 and 1e-7 vanish (arXiv:2301.12809)",
      "1e-8 and 1e-7 NaN within 10 steps; 1e-4, 1e-3 and 1e-6 in the root within 0.7 of FP32's accuracy",
      reproduce_epsilon, true },
    { "R7", "FP16 needs loss scaling where gradients are small (arXiv:1710.03740)",
      "FP32 and BF16 the same at 1 and 2^-18; FP16 at 2^-18 at chance; dynamic scaling within 1.5", reproduce_scaling,
      true },
    { "R8", "5% of gradients lie below 2^-24 (arXiv:1710.03740)",
      "in each layer the share that becomes 0 falls with the loss scale, until something overflows",
      reproduce_underflow, false },
    { "R9", "PyTorch's GradScaler", "the same scale after every step of a script of overflows", reproduce_scaler,
      true },
    { "R10", "BF16's rounding floor grows as the learning rate falls; Kahan's does not (arXiv:2010.06192)",
      "to nearest the error rises with each smaller rate; with Kahan within a factor of 2", reproduce_rounding_floor,
      true },
    { "R11", "stochastic rounding and Kahan repair BF16 (arXiv:2010.06192)",
      "nearest at least 0.8 points below FP32, both repairs within 0.7", reproduce_repairs, false },
    { "R12", "FP8 matches FP32 (arXiv:2209.05433)", "gap at most 0.5 points", reproduce_fp8, false },
    { "R13", "with heavy tails FP8 stays bounded and INT8 does not (arXiv:2408.02897)",
      "INT8's error below E4M3's for nu >= 15, above 5 times for nu = 3", reproduce_tails, true },
    { "R14", "signal to quantisation noise of Gaussian values", "within 0.1 dB", reproduce_sqnr, true },
    { "R15", "INT8 with learned steps matches FP32 (arXiv:1902.08153)", "gap at most 0.5 points at 8 bits",
      reproduce_learned, false },
    { "R16", "exponent bits matter more than mantissa bits, and sharpness rises before the loss (arXiv:2405.18710)",
      "from E8M7 down, to nearest and masked: the worst bit of exponent costs more loss than the worst of mantissa; "
      "with fewer bits "
      "the logits' sharpness is above FP32's before the loss is",
      reproduce_bits, false },
    { "R17", "federated learning in FP8 (arXiv:2407.02610)", "at most 1 point lost, bytes by 2.9", reproduce_federated,
      false },
    { "R18", "character models: 1.88 and 1.47 nats (nanoGPT)",
      "least validation loss: gpt-nano 1.80 to 1.95, gpt-mini 1.45 to 1.52", reproduce_characters, false },
    { "R19", "quantised minima are flatter (QGen), or sharper (FQAT)", "which, with intervals that exclude 0",
      reproduce_minima, false },
    { "R20", "bytes a parameter", "what the policy's formats add up to", reproduce_bytes, true },
};
enum { CLAIMS = sizeof claims / sizeof *claims };

typedef struct session {
    reproduction work;
    bool chosen[CLAIMS];
    bool any, quick, json, quiet;
    const char *device;
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
    return found ? BD_OK
                 : bd_fail(error, BD_ERROR_ARGUMENT, "%s: no claim; there are R1 to R%d, and all", word, CLAIMS);
}

/* Those named; with --quick, or where none is named, of those the quick ones. */
static void choose(session *self)
{
    for (int i = 0; i < CLAIMS; i++)
        self->chosen[i] = (self->chosen[i] || !self->any) && (claims[i].quick || (self->any && !self->quick));
}

/* The command line that makes this finding again. */
static char *command_of(const session *self, const claim *c)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fprintf(file, "binade reproduce %s --device %s", c->name, bd_device_get_info(self->work.device)->id);
    if (strcmp(self->work.data, "fashion-mnist"))
        fprintf(file, " --data %s", self->work.data);
    if (self->work.cifar)
        fprintf(file, " --cifar10 %s", self->work.cifar);
    if (self->work.text)
        fprintf(file, " --text %s", self->work.text);
    if (self->work.most_steps)
        fprintf(file, " --steps %lld", (long long)self->work.most_steps);
    if (self->work.seeds)
        fprintf(file, " --seeds %lld", (long long)self->work.seeds);
    if (fclose(file)) {
        free(text);
        return NULL;
    }
    return text;
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
    print_field(f->verdict == VERDICT_NOT_RUN ? "missing" : "result", f->result);
    char *command = command_of(self, c);
    if (command)
        print_field("again", command);
    free(command);
    putchar('\n');
    fflush(stdout);
}

static json_t *finding_json(const session *self, const claim *c, const finding *f)
{
    char *command = command_of(self, c);
    json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "claim", c->claim, "rule", c->rule, "verdict",
                            verdicts[f->verdict]);
    json_object_set_new(row, f->verdict == VERDICT_NOT_RUN ? "missing" : "result", json_text(f->result));
    json_object_set_new(row, "command", command ? json_text(command) : json_null());
    free(command);
    return row;
}

static bd_status run(session *self, bd_error *error)
{
    bd_status status =
        limited_open_first(&self->work.progress, self->device, self->work.limit, &self->work.device, error);
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
        else
            finding_add(&f, "not built yet");
        progress_clear(&self->work.progress);
        if (status)
            break;
        count[f.verdict]++;
        if (self->json)
            json_array_append_new(rows, finding_json(self, &claims[i], &f));
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
    "  binade reproduce R11 --output study       one that trains 20 networks; after Ctrl-C the same command goes on\n"
    "  binade reproduce all --cifar10 cifar10.tar.zst --text tinyshakespeare.txt\n"
    "                                            all that this device and these data allow: hours on a GPU\n"
    "\n"
    "A claim that fails is a result, and no error: docs/study.md has those of longer runs.\n";

int command_reproduce(int argc, char **argv)
{
    session self = { .work = { .steps = 60, .data = "fashion-mnist", .output = "reproduced" } };
    option_row rows[] = {
        OPTION("quick", FLAG, &self.quick, NULL, "of the claims named only those that take minutes on a CPU"),
        OPTION("data", TEXT, &self.work.data, "DATA", "what the MLP and LeNet learn (fashion-mnist)"),
        OPTION("cifar10", TEXT, &self.work.cifar, "DATA", "CIFAR-10, as `train --data` takes it: for R3, R4 and R5"),
        OPTION("text", TEXT, &self.work.text, "FILE", "tinyshakespeare, or another text: for R16 and R18"),
        OPTION("output", TEXT, &self.work.output, "DIR",
               "where the runs of claims that compare many are kept, a folder each; those that are there are not made "
               "again (reproduced)"),
        OPTION("device", TEXT, &self.device, "DEVICE",
               "id, backend or part of a name, as `binade devices` tells them (the first)"),
        LIMIT_ROW(&self.work.limit),
        OPTION_IN("steps", INTEGER, &self.work.steps, "N", 1, 1e6,
                  "of the trainings of R1, R7 and R8; R6 takes three times as many (60); of comparisons at most, for a "
                  "look (as "
                  "the claim says)"),
        OPTION_IN("seeds", INTEGER, &self.work.seeds, "N", 0, MOST_SEEDS, "of comparisons (0: as the claim says)"),
        OPTION("json", FLAG, &self.json, NULL, "print one JSON document at the end"),
        OPTION("quiet", FLAG, &self.quiet, NULL, "no progress, only the findings"),
    };
    option_table table = {
        .command = "reproduce",
        "[OPTION]... [all|R1|R2|...|R20]...",
        "Tests what the published work claims, on this device.",
        examples,
        rows,
        sizeof(rows) / sizeof(rows[0]),
        "0 done, whatever the verdicts, 1 failed, 2 wrong usage, 3 the device was lost, 130 interrupted.\n",
        take_claim,
        &self
    };
    bool help = false;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help) {
        progress_init(&self.work.progress, "", self.quiet);
        self.work.most_steps = options_given(&table, "steps") ? self.work.steps : 0;
        status = run(&self, &error);
    }
    bd_device_close(&self.work.device);
    bd_dataset_close(&self.work.dataset);
    options_finish(&table);
    return status ? app_report(status, &error) : APP_DONE;
}
