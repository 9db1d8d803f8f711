/* Claims about arithmetic alone, by the library's own roundings in double precision; the loss scale on the device. */
#include "engine/build.h"
#include "engine/philox.h"
#include "engine/trainer.h"
#include "reproduce.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A standard normal number: Box and Muller's of Philox, by element and stream. */
static double gaussian(uint32_t seed, uint32_t stream, uint64_t element)
{
    uint32_t words[4];
    bd_philox((uint32_t[2]){ seed, stream }, (uint32_t[4]){ (uint32_t)element, (uint32_t)(element >> 32), 0, 0 },
              words);
    const double radius = sqrt(-2 * log(1 - bd_philox_uniform(words[0])));
    return radius * cos(2 * 3.14159265358979323846 * bd_philox_uniform(words[1]));
}

static double uniform(uint32_t seed, uint32_t stream, uint64_t element)
{
    uint32_t words[4];
    bd_philox((uint32_t[2]){ seed, stream }, (uint32_t[4]){ (uint32_t)element, 0, 0, 1 }, words);
    return bd_philox_uniform(words[0]);
}

static double largest_magnitude(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

/* ---- R14: the noise of one rounding ---- */

bd_status reproduce_sqnr(reproduction *self, finding *f, bd_error *error)
{
    enum { SAMPLES = 1 << 20, FORMATS = 4 };
    static const bd_format formats[FORMATS] = { BD_F16, BD_BF16, BD_F8E4M3, BD_F8E5M2 };
    static const double published[FORMATS] = { 73.65, 55.58, 31.54, 25.57 };
    (void)self;
    double *x = malloc(SAMPLES * sizeof *x), sqnr[FORMATS];
    if (!x)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %d samples", SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++)
        x[i] = gaussian(1, 0, i);
    const double most = largest_magnitude(x, SAMPLES);
    f->verdict = VERDICT_HOLDS;
    for (int n = 0; n < FORMATS; n++) {
        const double scale = bd_format_describe(formats[n]).largest / most;
        double power = 0, noise = 0;
        for (size_t i = 0; i < SAMPLES; i++) {
            const double value = x[i] * scale, difference = bd_round(formats[n], value) - value;
            power += value * value;
            noise += difference * difference;
        }
        sqnr[n] = 10 * log10(power / noise);
        if (fabs(sqnr[n] - published[n]) > 0.1)
            f->verdict = VERDICT_FAILS;
    }
    free(x);
    snprintf(f->result, sizeof f->result,
             "FP16 %.2f, BF16 %.2f, E4M3 %.2f, E5M2 %.2f dB (published %.2f, %.2f, %.2f, %.2f)", sqnr[0], sqnr[1],
             sqnr[2], sqnr[3], published[0], published[1], published[2], published[3]);
    return BD_OK;
}

/* ---- R13: heavy tails ---- */

enum { SIDE = 512, MATRIX = SIDE * SIDE };

/* Student's t of `freedom` degrees: a normal number over the root of a mean of squares of others. */
static void fill_student(double *values, uint32_t seed, int freedom)
{
    for (size_t i = 0; i < MATRIX; i++) {
        double squares = 0;
        for (int k = 1; k <= freedom; k++) {
            const double other = gaussian(seed, (uint32_t)k, i);
            squares += other * other;
        }
        values[i] = gaussian(seed, 0, i) / sqrt(squares / freedom);
    }
}

/* Whole numbers of amax / 127, or E4M3 of amax / 448. */
static void quantise(const double *values, double *rounded, bd_format format)
{
    const double scale = bd_format_describe(format).largest / largest_magnitude(values, MATRIX);
    for (size_t i = 0; i < MATRIX; i++)
        rounded[i] = bd_round(format, values[i] * scale) / scale;
}

static void multiply(const double *restrict a, const double *restrict b, double *restrict c)
{
    memset(c, 0, MATRIX * sizeof *c);
    for (size_t i = 0; i < SIDE; i++)
        for (size_t k = 0; k < SIDE; k++)
            for (size_t j = 0; j < SIDE; j++)
                c[i * SIDE + j] += a[i * SIDE + k] * b[k * SIDE + j];
}

static double norm(const double *values)
{
    double sum = 0;
    for (size_t i = 0; i < MATRIX; i++)
        sum += values[i] * values[i];
    return sqrt(sum);
}

/* |LR - Q(L) Q(R)| / (|L| |R|) of INT8 over that of E4M3. */
static double error_ratio(double *const m[6], uint32_t seed, int freedom)
{
    double errors[2];
    fill_student(m[0], 2 * seed, freedom);
    fill_student(m[1], 2 * seed + 1, freedom);
    multiply(m[0], m[1], m[2]);
    for (int f = 0; f < 2; f++) {
        const bd_format format = f ? BD_F8E4M3 : BD_I8;
        quantise(m[0], m[3], format);
        quantise(m[1], m[4], format);
        multiply(m[3], m[4], m[5]);
        for (size_t i = 0; i < MATRIX; i++)
            m[5][i] -= m[2][i];
        errors[f] = norm(m[5]) / (norm(m[0]) * norm(m[1]));
    }
    return errors[0] / errors[1];
}

bd_status reproduce_tails(reproduction *self, finding *f, bd_error *error)
{
    enum { SEEDS = 10, FREEDOMS = 3 };
    static const int freedoms[FREEDOMS] = { 3, 8, 15 };
    double *matrices[6], *room = malloc(6 * MATRIX * sizeof *room);
    if (!room)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for matrices of %d x %d", SIDE, SIDE);
    for (int i = 0; i < 6; i++)
        matrices[i] = room + (size_t)i * MATRIX;
    f->verdict = VERDICT_HOLDS;
    int length = snprintf(f->result, sizeof f->result, "INT8's error over E4M3's, %d seeds:", SEEDS);
    for (int n = 0; n < FREEDOMS; n++) {
        double ratios[SEEDS];
        for (uint32_t s = 0; s < SEEDS; s++) {
            progress_count(&self->progress, "R13", n * SEEDS + (int)s, FREEDOMS * SEEDS, "products");
            ratios[s] = error_ratio(matrices, s + 1, freedoms[n]);
        }
        const interval i = interval_of(ratios, SEEDS);
        length += snprintf(f->result + length, sizeof f->result - (size_t)length, "%s nu %d: %.2f (%.2f to %.2f)",
                           n ? "," : "", freedoms[n], i.mean, i.low, i.high);
        if (freedoms[n] == 3 || freedoms[n] >= 15)
            f->verdict = verdict_both(f->verdict,
                                      freedoms[n] == 3 ? verdict_between(&i, 5, INFINITY) : verdict_between(&i, 0, 1));
    }
    progress_clear(&self->progress);
    free(room);
    return BD_OK;
}

/* ---- R10: updates that are lost ---- */

enum { WEIGHTS = 10 };

static double bf16(double value)
{
    return bd_round(BD_BF16, value);
}

/* Least squares without noise, one example a step, weights in BF16: the mean square distance to the solution over the
 * last tenth of 30 / rate steps, after which exact arithmetic would be e^-30 of the way off. */
static double distance(uint32_t seed, double rate, bool kahan)
{
    const uint64_t steps = (uint64_t)(30 / rate);
    double solution[WEIGHTS], w[WEIGHTS] = { 0 }, lost[WEIGHTS] = { 0 }, sum = 0;
    for (int i = 0; i < WEIGHTS; i++)
        solution[i] = 100 * uniform(seed, 1, (uint64_t)i);
    for (uint64_t t = 0; t < steps; t++) {
        double x[WEIGHTS], residual = 0;
        for (int i = 0; i < WEIGHTS; i++) {
            x[i] = gaussian(seed, 2, t * WEIGHTS + (uint64_t)i);
            residual += x[i] * (w[i] - solution[i]);
        }
        for (int i = 0; i < WEIGHTS; i++) {
            const double update = bf16(-rate * residual * x[i]);
            if (kahan) {
                const double y = bf16(update - lost[i]), next = bf16(w[i] + y);
                lost[i] = bf16(bf16(next - w[i]) - y);
                w[i] = next;
            } else {
                w[i] = bf16(w[i] + update);
            }
        }
        for (int i = 0; i < WEIGHTS && t >= steps - steps / 10; i++)
            sum += (w[i] - solution[i]) * (w[i] - solution[i]);
    }
    return sum / (double)(steps / 10) / WEIGHTS;
}

bd_status reproduce_rounding_floor(reproduction *self, finding *f, bd_error *error)
{
    enum { SEEDS = 5, RATES = 3 };
    static const double rates[RATES] = { 1e-2, 1e-3, 1e-4 };
    (void)error;
    double nearest[RATES], kahan[RATES];
    for (int r = 0; r < RATES; r++) {
        double values[2][SEEDS];
        for (uint32_t s = 0; s < SEEDS; s++) {
            progress_count(&self->progress, "R10", r * SEEDS + (int)s, RATES * SEEDS, "runs");
            values[0][s] = distance(s + 1, rates[r], false);
            values[1][s] = distance(s + 1, rates[r], true);
        }
        nearest[r] = interval_of(values[0], SEEDS).mean;
        kahan[r] = interval_of(values[1], SEEDS).mean;
    }
    progress_clear(&self->progress);
    const double least = fmin(kahan[0], fmin(kahan[1], kahan[2])), most = fmax(kahan[0], fmax(kahan[1], kahan[2]));
    f->verdict = nearest[0] < nearest[1] && nearest[1] < nearest[2] && most < 2 * least ? VERDICT_HOLDS : VERDICT_FAILS;
    snprintf(f->result, sizeof f->result,
             "mean square distance at rates 1e-2, 1e-3, 1e-4, 5 seeds: BF16 to nearest %.3g, %.3g, %.3g; with Kahan "
             "%.3g, %.3g, %.3g",
             nearest[0], nearest[1], nearest[2], kahan[0], kahan[1], kahan[2]);
    return BD_OK;
}

/* ---- R9: the loss scale ---- */

/* torch/cuda/amp: what update_scale_ does to the scale and its count of good steps. */
static void grad_scaler(float *scale, uint32_t *good, bool overflow, uint32_t growth_interval)
{
    if (overflow) {
        *scale *= 0.5f;
        *good = 0;
    } else if (++*good == growth_interval) {
        *scale *= 2;
        *good = 0;
    }
}

/* A step's end on the device, for each step of a script of overflows. */
static bd_status run_script(bd_store *store, bd_program *program, int steps, int *wrong, int *overflows,
                            bd_error *error)
{
    enum { INTERVAL = 5 };
    uint32_t control[BD_CONTROL_BYTES / 4] = { 0 }, good = 0;
    float scale = 65536;
    control[BD_CONTROL_SCALING] = BD_SCALING_DYNAMIC;
    bd_control_set_float(control, BD_CONTROL_SCALE, scale);
    bd_control_set_float(control, BD_CONTROL_GROWTH, 2);
    bd_control_set_float(control, BD_CONTROL_BACKOFF, 0.5f);
    control[BD_CONTROL_GROWTH_INTERVAL] = INTERVAL;
    control[BD_CONTROL_RATE_COUNT] = 1;
    bd_status status = bd_store_write(store, "control", control, sizeof control, error);
    for (int t = 0; t < steps && !status; t++) {
        const bool overflow = uniform(1, 3, (uint64_t)t) < 0.15;
        const double flag = overflow;
        status = bd_store_write_values(store, "overflow", &flag, 1, error);
        if (!status)
            status = bd_program_run(program, 1, error);
        if (!status)
            status = bd_store_read(store, "control", control, sizeof control, error);
        grad_scaler(&scale, &good, overflow, INTERVAL);
        *overflows += overflow;
        *wrong += bd_control_float(control, BD_CONTROL_SCALE) != scale || control[BD_CONTROL_GOOD_STEPS] != good ||
                  control[BD_CONTROL_APPLY] != !overflow;
    }
    return status;
}

bd_status reproduce_scaler(reproduction *self, finding *f, bd_error *error)
{
    enum { STEPS = 400 };
    const bd_init zeros = { BD_INIT_CONSTANT, 0 };
    int wrong = 0, overflows = 0;
    bd_graph *graph;
    bd_store *store = NULL;
    bd_plan *plan = NULL;
    bd_program *program = NULL;
    bd_status status = bd_graph_create(&graph, error);
    if (status)
        return status;
    bd_set_role(graph, BD_ROLE_FIXED);
    bd_tensor control = bd_variable(graph, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_BYTES / 4), zeros);
    bd_tensor rates = bd_variable(graph, "/rates", BD_ROLE_FIXED, BD_F32, BD_SHAPE(1), zeros);
    bd_tensor overflow = bd_variable(graph, "/overflow", BD_ROLE_FIXED, BD_F32, (bd_shape){ 0 }, zeros);
    bd_tensor one = bd_constant(graph, (bd_shape){ 0 }, 1);
    bd_control_step(graph, control, rates, one, one, overflow);
    status = bd_graph_status(graph, error);
    if (!status)
        status = bd_store_create(self->device, &store, error);
    if (!status)
        status = bd_plan_create(graph, &self->device->target, &(bd_compile_options){ 0 }, &plan, error);
    if (!status)
        status = bd_program_create(store, &plan, 1, NULL, NULL, &program, error);
    if (!status)
        status = run_script(store, program, STEPS, &wrong, &overflows, error);
    f->verdict = wrong ? VERDICT_FAILS : VERDICT_HOLDS;
    snprintf(f->result, sizeof f->result,
             "%d of %d steps, %d with overflow, have GradScaler's scale, count and decision, bit for bit",
             STEPS - wrong, STEPS, overflows);
    bd_program_destroy(&program);
    bd_plan_destroy(&plan);
    bd_store_destroy(&store);
    bd_graph_destroy(&graph);
    return status;
}
