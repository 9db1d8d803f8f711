#include "bench.h"
void bench_write_html(FILE *file, const void *user) { (void)user; fputs("x", file); }
