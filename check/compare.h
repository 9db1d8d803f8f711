/* Judging a device's results. */
#ifndef BINADE_CHECK_COMPARE_H
#define BINADE_CHECK_COMPARE_H

#include "case.h"

/* Equal, the sign of zero included; all NaN are one. */
bool same_value(double a, double b);

/* Interprets the case's graph and holds every output's result against its tolerance. BD_ERROR_DATA tells the first
 * element that fails. */
bd_status compare_outputs(test_case *c, bd_error *error);

#endif
