#include "warnings.h"
#include <stdio.h>

enum { UNDERFLOW, OVERFLOW, LOST };

/* Shares from which on a trouble is told. Underflow: mixed precision's authors lost 5% of the gradients without harm,
 * and 67% to divergence (Micikevicius et al., arXiv:1710.03740). Overflow: one value in a sum makes the sum infinite.
 * Lost updates: half. */
static const double limits[] = { [UNDERFLOW] = 0.1, [OVERFLOW] = 0, [LOST] = 0.5 };

static bool is_gradient(bd_measured what)
{
    return what == BD_MEASURED_GRADIENT || what == BD_MEASURED_WEIGHT_GRADIENT || what == BD_MEASURED_BIAS_GRADIENT;
}

/* How much of this trouble the measurement shows; 0 where it is none, or is being mended already. */
static double share(const bd_measurement *m, int trouble, const bd_precision *precision)
{
    const bool updates = m->what == BD_MEASURED_UPDATE || m->what == BD_MEASURED_BIAS_UPDATE;
    switch (trouble) {
    case UNDERFLOW: /* few numbers: one of ten is no sign; and before a normalisation a bias has no gradient but rounding errors */
        return updates || m->what == BD_MEASURED_BIAS_GRADIENT ? 0 : m->underflow;
    case OVERFLOW: /* of gradients under dynamic scaling: how the scale is found */
        return updates || (is_gradient(m->what) && precision->scaling == BD_SCALING_DYNAMIC) ? 0 : m->overflow;
    default: { /* of F32 there is nothing finer to keep them in: the rate is near 0 */
        const bool random = precision->mode[BD_ROLE_WEIGHT] == BD_ROUND_STOCHASTIC ||
                            precision->mode[BD_ROLE_MASTER] == BD_ROUND_STOCHASTIC;
        return updates && m->format != BD_F32 && !precision->kahan && !random ? m->underflow : 0;
    }
    }
}

static void repair(char *text, size_t size, const bd_measurement *m, int trouble, const bd_precision *precision)
{
    const char *layer = m->layer, *role = is_gradient(m->what) ? "g" : "a";
    if (trouble == LOST)
        snprintf(text, size, "kahan=on, round=stochastic or master=f32 keeps them");
    else if (m->what == BD_MEASURED_OPERAND || m->what == BD_MEASURED_GRADIENT_OPERAND)
        snprintf(text, size, "operands=delayed scales them, or give the layer another format: '%s:%s'", layer,
                 m->what == BD_MEASURED_OPERAND ? "qw=f16,qa=f16" : "qg=f16");
    else if (is_gradient(m->what) && precision->scaling == BD_SCALING_NONE && trouble == UNDERFLOW)
        snprintf(text, size, "loss scaling keeps them: scale=dynamic, as in --precision mixed");
    else if (is_gradient(m->what) && precision->scaling == BD_SCALING_STATIC)
        snprintf(text, size, "a %s loss scale or scale=dynamic", trouble == OVERFLOW ? "smaller" : "larger");
    else
        snprintf(text, size, "bf16 has the range: '%s:%s=bf16'", layer, role);
}

static void tell(const bd_measurement *m, int trouble, double share, const bd_train_event *event,
                 const bd_precision *precision, void (*say)(void *user, const char *text), void *user)
{
    static const char *const became[] = {
        [UNDERFLOW] = "become 0", [OVERFLOW] = "become infinite", [LOST] = "change no weight"
    };
    char advice[256], text[512];
    repair(advice, sizeof advice, m, trouble, precision);
    snprintf(text, sizeof text, "step %lld: %.3g%% of the %s of layer '%.64s' %s in %s; %s", (long long)event->step,
             100 * share, bd_measured_name(m->what), m->layer, became[trouble], bd_format_name(m->format), advice);
    say(user, text);
}

void warnings_check(warnings *self, const bd_train_event *event, const bd_precision *precision,
                    void (*say)(void *user, const char *text), void *user)
{
    for (int trouble = 0; trouble < 3; trouble++) {
        const bd_measurement *worst = NULL;
        double most = limits[trouble];
        for (size_t i = 0; i < event->measurement_count && !self->told[trouble]; i++) {
            const double here = share(&event->measurements[i], trouble, precision);
            if (here > most) {
                most = here;
                worst = &event->measurements[i];
            }
        }
        if (worst)
            tell(worst, trouble, most, event, precision, say, user);
        self->told[trouble] |= worst != NULL;
    }
}
