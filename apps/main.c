/* The `binade` program: finds the subcommand. */
#include "app.h"
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    { "devices", command_devices, "what is here, and what each device can really do in FP16" },
    { "train", command_train, "train a model on a device in a precision" },
    { "sample", command_sample, "let a language model write" },
    { "compare", command_compare, "train in several precisions, on several devices, side by side" },
    { "reproduce", command_reproduce, "test what the published work claims" },
    { "bench", command_bench, "how fast a device and the engine's kernels on it are, results checked" },
    { "check", command_check, "whether a device computes rightly, and what the engine must go round" },
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *file)
{
    fputs("Binade trains neural networks on any GPU or CPU, through OpenCL or Vulkan, in FP32, FP16 and mixed "
          "precision,\n"
          "and shows what a precision costs and what it buys.\n\n"
          "Usage: binade COMMAND [OPTION]...\n\nCommands:\n",
          file);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`binade COMMAND --help` lists a command's options; `binade --version` tells the version.\n\n"
          "Examples:\n"
          "  binade devices\n"
          "  binade train --precision mixed --device vulkan\n"
          "  binade compare --precision fp32,fp16,mixed --device all\n"
          "  binade bench --suite peak,gemm --device vulkan\n"
          "  binade check --quick\n\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage, 3 device lost, 4 a device computes wrongly (check),\n"
          "130 interrupted (after saving).\n",
          file);
}

/* argv[0] is the command's name. */
static int run_command(int argc, char **argv)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(argv[0], commands[i].name))
            return commands[i].run(argc, argv);
    bd_error error = { 0 };
    bd_fail(
        &error, BD_ERROR_ARGUMENT,
        "%s: no such command; there are devices, train, sample, compare, reproduce, bench and check (binade --help)",
        argv[0]);
    return app_report(BD_ERROR_ARGUMENT, &error);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return APP_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "help") && argc == 3)
        return run_command(2, (char *[]){ argv[2], "--help", NULL });
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(stdout);
        return APP_DONE;
    }
    if (!strcmp(name, "--version")) {
        puts("binade " BD_VERSION);
        return APP_DONE;
    }
    return run_command(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* only which characters the terminal shows; numbers keep their point */
    /* A file that grows beyond a limit (ulimit -f) is a failed write like another, to be told of and survived. */
    (void)signal(SIGXFSZ, SIG_IGN);
    /* PoCL compiles a kernel twice, for its binary and again for the first launch, unless told that one will do. */
    setenv("POCL_WORK_GROUP_SPECIALIZATION", "0", false);
    int result = run(argc, argv);
    /* A full disk behind stdout shows itself here at the latest. */
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "binade: cannot write to stdout: %s\n", strerror(errno));
        if (result == APP_DONE)
            result = APP_FAILED;
    }
    return result;
}
