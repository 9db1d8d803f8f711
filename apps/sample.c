/* binade sample: a language model writes. */
#include "app.h"
#include "engine/dataset.h"
#include "json.h"
#include "limited.h"
#include "models/models.h"
#include "options.h"
#include "progress.h"
#include <stdlib.h>
#include <string.h>

typedef struct session {
    const char *resume, *prompt, *device_name, *limit;
    int64_t tokens, top_k, seed;
    float temperature;
    bool json, quiet;
    progress progress;
    model model;
    bd_device *device;
    bd_generator *generator;
    FILE *out;
    char *text; /* of --json; owned */
    size_t text_size;
    uint8_t pending[8]; /* bytes that are no character yet */
    size_t pending_size;
} session;

/* ---- text that is UTF-8, whatever the tokens are ---- */

/* Whether the bytes can be the beginning of a character. */
static bool may_go_on(const uint8_t *bytes, size_t size)
{
    const uint8_t first = bytes[0];
    const size_t needed = first >> 5 == 0x6 ? 2 : first >> 4 == 0xe ? 3 : first >> 3 == 0x1e ? 4 : 0;
    for (size_t i = 1; i < size; i++)
        if (bytes[i] >> 6 != 0x2)
            return false;
    return size < needed;
}

/* Writes the characters that are whole; at the end, what is none becomes U+FFFD. What would steer a terminal becomes
 * '?'. */
static void write_whole(session *self, bool at_end)
{
    while (self->pending_size) {
        uint32_t code = 0;
        size_t length = bd_utf8_character(self->pending, self->pending_size, &code);
        if (length == 0 && !at_end && may_go_on(self->pending, self->pending_size))
            return;
        const bool steers = (code < ' ' && !strchr("\n\t\r", (int)code)) || (code >= 0x7f && code < 0xa0);
        if (length == 0)
            fputs("\xef\xbf\xbd", self->out);
        else if (steers)
            putc('?', self->out);
        else
            fwrite(self->pending, 1, length, self->out);
        length = length ? length : 1;
        self->pending_size -= length;
        memmove(self->pending, self->pending + length, self->pending_size);
    }
}

static void write_text(session *self, const char *text)
{
    for (; *text; text++) {
        self->pending[self->pending_size++] = (uint8_t)*text;
        write_whole(self, false);
    }
}

/* ---- the command ---- */

static bd_status start(session *self, bd_error *error)
{
    if (!self->resume)
        return bd_fail(error, BD_ERROR_ARGUMENT, "--resume FILE is needed: a checkpoint of gpt-nano or gpt-mini");
    bd_status status = bd_generator_open(self->resume, &self->generator, error);
    if (!status)
        status = model_parse(bd_generator_model(self->generator), &self->model, error);
    if (!status)
        status = bd_generator_prompt(self->generator, self->prompt, error);
    if (!status)
        status = limited_open_first(&self->progress, self->device_name, self->limit, &self->device, error);
    return status ? status
                  : bd_generator_start(self->generator, self->device,
                                       &(bd_generator_params){ .model = self->model.function,
                                                               .model_user = &self->model,
                                                               .temperature = self->temperature,
                                                               .top_k = self->top_k,
                                                               .seed = (uint64_t)self->seed },
                                       error);
}

static bd_status print_json(session *self, bd_error *error)
{
    if (fclose(self->out) || !self->text) {
        self->out = NULL;
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the text");
    }
    self->out = NULL;
    json_t *object =
        json_pack("{s:i, s:s, s:s, s:o, s:I, s:o, s:I, s:o, s:o}", "format_version", APP_FORMAT_VERSION, "model",
                  self->model.name, "device", bd_device_get_info(self->device)->id, "prompt", json_text(self->prompt),
                  "tokens", (json_int_t)self->tokens, "temperature", json_float(self->temperature), "top_k",
                  (json_int_t)self->top_k, "seed", json_integer(self->seed), "text", json_text(self->text));
    json_dumpf(object, stdout, JSON_STYLE);
    putchar('\n');
    json_decref(object);
    return BD_OK;
}

static bd_status run(session *self, bd_error *error)
{
    bd_status status = start(self, error);
    if (status)
        return status;
    self->out = self->json ? open_memstream(&self->text, &self->text_size) : stdout;
    if (!self->out)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the text");
    app_catch_interrupt();
    write_text(self, self->prompt);
    for (int64_t i = 0; i < self->tokens && !status && !ferror(self->out); i++) {
        const char *text;
        if (app_interrupted())
            status = bd_fail(error, BD_ERROR_INTERRUPTED, "interrupted");
        else
            status = bd_generator_next(self->generator, &text, error);
        if (!status)
            write_text(self, text);
        if (!self->json)
            fflush(stdout);
    }
    write_whole(self, true);
    if (!self->json) {
        putchar('\n');
        return status;
    }
    return status ? status : print_json(self, error);
}

static void finish(session *self)
{
    if (self->json && self->out)
        (void)fclose(self->out);
    free(self->text);
    bd_generator_close(&self->generator);
    bd_device_close(&self->device);
}

static const char examples[] =
    "  binade train --model gpt-nano --data FILE.txt --output runs/nano\n"
    "  binade sample --resume runs/nano/checkpoint.safetensors\n"
    "  binade sample --resume runs/nano/checkpoint.safetensors --prompt 'ROMEO:' --temperature 0.5 --seed 2\n";

int command_sample(int argc, char **argv)
{
    session self = { .prompt = "", .tokens = 500, .temperature = 0.8f, .seed = 1 };
    option_row rows[] = {
        OPTION("resume", TEXT, &self.resume, "FILE", "the checkpoint of a language model that `binade train` saved"),
        OPTION("prompt", TEXT, &self.prompt, "TEXT", "what the text begins with (as after the end of a line)"),
        OPTION_IN("tokens", INTEGER, &self.tokens, "N", 1, 1e9, "how many characters or bytes to write (500)"),
        OPTION_IN("temperature", NUMBER, &self.temperature, "X", 0, 1e3,
                  "below 1 what is likely becomes likelier; 0: always the likeliest (0.8)"),
        OPTION_IN("top-k", INTEGER, &self.top_k, "N", 0, BD_MOST_TOKENS,
                  "draw from the N likeliest only (0: from all)"),
        OPTION_IN("seed", INTEGER, &self.seed, "N", 0, 9007199254740992.0, "of the numbers that are drawn (1)"),
        OPTION("device", TEXT, &self.device_name, "DEVICE",
               "id, backend or part of a name, as `binade devices` tells them (the first)"),
        LIMIT_ROW(&self.limit),
        OPTION("json", FLAG, &self.json, NULL, "print one JSON document at the end"),
        OPTION("quiet", FLAG, &self.quiet, NULL, "nothing but the text and errors"),
    };
    option_table table = { .command = "sample",
                           "[OPTION]...",
                           "Lets a language model write: a prompt, and how it goes on.",
                           examples,
                           rows,
                           sizeof(rows) / sizeof(rows[0]),
                           "0 done, 1 failed, 2 wrong usage, 3 the device was lost, 130 interrupted.\n" };
    bool help = false;
    bd_error error = { 0 };
    bd_status status = options_parse(&table, argc, argv, &help, &error);
    if (!status && !help) {
        progress_init(&self.progress, "", self.quiet);
        status = run(&self, &error);
    }
    finish(&self);
    options_finish(&table);
    return status ? app_report(status, &error) : APP_DONE;
}
