/* The control block: a small device buffer of 32-bit words that says what changes from step to step. Kernels read it,
 * and one work-item of the control kernel (cl/control.cl, shaders/control.comp, reference) updates it once a step; so
 * the host need not.
 *
 * The rule of one training step, in this order (inputs: `loss`, the unscaled sum of the losses of the batch's valid
 * rows; `correct`, how many of them were classified right; `nonfinite`, not 0 if a gradient element is not finite, 0 if
 * the policy does not ask):
 *     if not HALT: LOSS_SUM += loss; CORRECT += correct; SAMPLES += min(BATCH, COUNT - POSITION) (0 if POSITION >=
 *     COUNT)
 *     UNSCALE = 1 / SCALE
 *     bad = loss is not finite;  over = nonfinite != 0
 *     if bad: NAN_COUNT += 1; if NAN_COUNT == 1: NAN_STEP = STEP; if STOP_ON_NAN: HALT = 1
 *     APPLY = not over and not HALT
 *     if SCALING == dynamic and not HALT: (PyTorch GradScaler's rule)
 *         over: SCALE *= BACKOFF; GOOD_STEPS = 0; else GOOD_STEPS += 1, and at GROWTH_INTERVAL: SCALE *= GROWTH,
 *         GOOD_STEPS = 0
 *     if over: OVERFLOWS += 1
 *     RATE = rates[min(STEP - RATE_FIRST, RATE_COUNT - 1)]
 *     if APPLY: APPLIED += 1; BETA1_POWER *= BETA1; BETA2_POWER *= BETA2
 *     if not HALT: STEP += 1; POSITION += BATCH
 * Under HALT nothing moves any more, so the weights and the position are those of the step that failed.
 * Evaluation uses a block of its own, with SCALING none and one rate of 0. */
#ifndef BINADE_ENGINE_CONTROL_H
#define BINADE_ENGINE_CONTROL_H

/* name, and whether the word is a float */
#define BD_CONTROL_WORDS(ROW)                                                                                          \
    ROW(STEP, 0) /* steps tried so far */                                                                              \
    ROW(SEED_LOW, 0)                                                                                                   \
    ROW(SEED_HIGH, 0)                                                                                                  \
    ROW(POSITION, 0) /* of the batch's first row in the permutation */                                                 \
    ROW(BATCH, 0)    /* rows a batch */                                                                                \
    ROW(COUNT, 0)    /* rows of the permutation that are valid */                                                      \
    ROW(SCALING, 0)  /* bd_scaling */                                                                                  \
    ROW(SCALE, 1)    /* of the loss */                                                                                 \
    ROW(UNSCALE, 1)  /* 1 / SCALE of this step */                                                                      \
    ROW(GROWTH, 1)                                                                                                     \
    ROW(BACKOFF, 1)                                                                                                    \
    ROW(GROWTH_INTERVAL, 0)                                                                                            \
    ROW(GOOD_STEPS, 0)                                                                                                 \
    ROW(OVERFLOWS, 0)                                                                                                  \
    ROW(APPLY, 0)   /* 1: the optimizer updates */                                                                     \
    ROW(APPLIED, 0) /* updates made */                                                                                 \
    ROW(RATE, 1)                                                                                                       \
    ROW(RATE_COUNT, 0)                                                                                                 \
    ROW(BETA1, 1)                                                                                                      \
    ROW(BETA2, 1)                                                                                                      \
    ROW(BETA1_POWER, 1)                                                                                                \
    ROW(BETA2_POWER, 1)                                                                                                \
    ROW(STOP_ON_NAN, 0)                                                                                                \
    ROW(HALT, 0)                                                                                                       \
    ROW(NAN_COUNT, 0)                                                                                                  \
    ROW(NAN_STEP, 0)                                                                                                   \
    ROW(LOSS_SUM, 1) /* metrics: sums since the host last cleared them */                                              \
    ROW(CORRECT, 1)                                                                                                    \
    ROW(SAMPLES, 1)                                                                                                    \
    ROW(RATE_FIRST, 0) /* the step that the table of rates begins with */

enum bd_control_word {
#define BD_CONTROL_ROW(NAME, is_float) BD_CONTROL_##NAME,
    BD_CONTROL_WORDS(BD_CONTROL_ROW)
#undef BD_CONTROL_ROW
        BD_CONTROL_WORD_COUNT
};

#define BD_CONTROL_BYTES 256 /* BD_CONTROL_WORD_COUNT words, room to grow */

#endif
