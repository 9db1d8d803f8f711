/* Learning-rate schedules: see the header. */
#include "schedule.h"

#include <math.h>

double bd_schedule_rate(const bd_optimizer *o, int64_t step, int64_t steps, int64_t steps_per_epoch)
{
    if (step < o->warmup_steps)
        return o->rate * (double)(step + 1) / (double)(o->warmup_steps + 1);
    switch (o->schedule) {
    case BD_SCHEDULE_CONSTANT: break;
    case BD_SCHEDULE_STEP: return o->rate * pow(o->step_factor, (double)(step / steps_per_epoch / o->step_epochs));
    case BD_SCHEDULE_COSINE: {
        /* Loshchilov and Hutter, arXiv:1608.03983, eq. 5; the last step is the one before the end. */
        int64_t length = steps - o->warmup_steps;
        double progress = length > 0 ? (double)(step - o->warmup_steps) / (double)length : 1;
        return o->final_rate + 0.5 * ((double)o->rate - o->final_rate) * (1 + cos(3.14159265358979323846 * progress));
    }
    }
    return o->rate;
}

int64_t bd_schedule_length(const bd_optimizer *optimizer, int64_t steps)
{
    int64_t needed = optimizer->schedule == BD_SCHEDULE_CONSTANT ? optimizer->warmup_steps + 1 : steps;
    return needed < 1 ? 1 : needed < steps || steps < 1 ? needed : steps;
}

int64_t bd_schedule_entries(const bd_optimizer *optimizer, int64_t steps)
{
    int64_t length = bd_schedule_length(optimizer, steps);
    return length < BD_SCHEDULE_WINDOW ? length : BD_SCHEDULE_WINDOW;
}

int64_t bd_schedule_first(const bd_optimizer *optimizer, int64_t steps, int64_t step)
{
    int64_t last = bd_schedule_length(optimizer, steps) - 1;
    return (step < last ? step : last) / BD_SCHEDULE_WINDOW * BD_SCHEDULE_WINDOW;
}
