/* The columns of bd_tally's result, for C and for both preludes, which include this: so nothing but such numbers. */
#ifndef BINADE_ENGINE_TALLY_COLUMNS_H
#define BINADE_ENGINE_TALLY_COLUMNS_H

/* Columns 0 to BD_TALLY_BINS - 1: values by their exponent, those of [2^e, 2^(e + 1)) in column e - BD_TALLY_FIRST; the
 * first has all smaller ones but 0 too, the last all larger ones but infinity. */
#define BD_TALLY_BINS 57
#define BD_TALLY_FIRST (-40)
#define BD_TALLY_LARGEST 57   /* the largest finite magnitude */
#define BD_TALLY_ZEROS 58     /* values that are 0 */
#define BD_TALLY_LOST 59      /* values other than 0 that became 0 */
#define BD_TALLY_OVERFLOWS 60 /* finite values that became infinite or NaN */
#define BD_TALLY_NONFINITE 61 /* values that were infinite or NaN before */
#define BD_TALLY_POWER 62     /* the sum of squares of finite values */
#define BD_TALLY_NOISE 63     /* the sum of squares of what was changed in values that are finite before and after */
#define BD_TALLY_COLUMNS 64

#endif
