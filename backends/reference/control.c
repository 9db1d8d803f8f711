/* The control block's update, in 32-bit arithmetic as devices do it: engine/control.h states the rule. */
#include "../../engine/control.h"
#include "evaluate.h"

#include <math.h>
#include <string.h>

static float as_float(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint32_t as_word(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

#define WORD(NAME) block[BD_CONTROL_##NAME]
#define FLOAT(NAME) as_float(WORD(NAME))
#define SET_FLOAT(NAME, value) (WORD(NAME) = as_word(value))

/* PyTorch's GradScaler. */
static void adapt_scale(uint32_t *block, bool over)
{
    if (over) {
        SET_FLOAT(SCALE, FLOAT(SCALE) * FLOAT(BACKOFF));
        WORD(GOOD_STEPS) = 0;
    } else if (++WORD(GOOD_STEPS) == WORD(GROWTH_INTERVAL)) {
        SET_FLOAT(SCALE, FLOAT(SCALE) * FLOAT(GROWTH));
        WORD(GOOD_STEPS) = 0;
    }
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void step(uint32_t *block, const double *rates, uint32_t rate_limit, float loss, float correct, bool over)
{
    if (!WORD(HALT)) {
        uint32_t left = WORD(POSITION) < WORD(COUNT) ? WORD(COUNT) - WORD(POSITION) : 0;
        SET_FLOAT(LOSS_SUM, FLOAT(LOSS_SUM) + loss);
        SET_FLOAT(CORRECT, FLOAT(CORRECT) + correct);
        SET_FLOAT(SAMPLES, FLOAT(SAMPLES) + (float)smaller(WORD(BATCH), left));
    }
    SET_FLOAT(UNSCALE, 1.0f / FLOAT(SCALE));
    if (!isfinite(loss)) {
        if (++WORD(NAN_COUNT) == 1)
            WORD(NAN_STEP) = WORD(STEP);
        if (WORD(STOP_ON_NAN))
            WORD(HALT) = 1;
    }
    WORD(APPLY) = !over && !WORD(HALT);
    if (WORD(SCALING) == BD_SCALING_DYNAMIC && !WORD(HALT))
        adapt_scale(block, over);
    if (over)
        WORD(OVERFLOWS)++;
    SET_FLOAT(RATE,
              (float)rates[smaller(smaller(WORD(STEP) - WORD(RATE_FIRST), WORD(RATE_COUNT) - 1), rate_limit - 1)]);
    if (WORD(APPLY)) {
        WORD(APPLIED)++;
        SET_FLOAT(BETA1_POWER, FLOAT(BETA1_POWER) * FLOAT(BETA1));
        SET_FLOAT(BETA2_POWER, FLOAT(BETA2_POWER) * FLOAT(BETA2));
    }
    if (!WORD(HALT)) {
        WORD(STEP)++;
        WORD(POSITION) += WORD(BATCH);
    }
}

void bd_evaluate_control_step(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    enum { CONTROL, RATES, LOSS, CORRECT, NONFINITE };
    uint32_t block[BD_CONTROL_WORD_COUNT];
    const double *old = bd_evaluated(evaluation, node, CONTROL);
    for (int i = 0; i < BD_CONTROL_WORD_COUNT; i++)
        block[i] = (uint32_t)old[i];
    int64_t rates = bd_shape_elements(bd_input_shape(evaluation, node, RATES));
    step(block, bd_evaluated(evaluation, node, RATES), (uint32_t)rates, (float)*bd_evaluated(evaluation, node, LOSS),
         (float)*bd_evaluated(evaluation, node, CORRECT),
         node->input_count > NONFINITE && *bd_evaluated(evaluation, node, NONFINITE) != 0);
    int64_t words = bd_shape_elements(bd_input_shape(evaluation, node, CONTROL));
    for (int64_t i = 0; i < words; i++)
        result[i] = i < BD_CONTROL_WORD_COUNT ? block[i] : old[i];
}
