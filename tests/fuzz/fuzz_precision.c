/* libFuzzer: any text as a precision policy; what is accepted can be used, and says the same when it is read again. */
#include "fuzz.h"

#include <binade/precision.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers are for operands, which have a scale. */
static bool may_have(bd_role role, bd_format format)
{
    const bd_format_kind kind = bd_format_describe(format).kind;
    const bool operand = role >= BD_ROLE_WEIGHT_OPERAND && role <= BD_ROLE_GRADIENT_OPERAND;
    return kind == BD_KIND_FLOAT || (operand && kind == BD_KIND_SIGNED);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = fuzz_text(bytes, size);
    bd_precision policy, again;
    bd_error error;
    memset(&policy, 0, sizeof policy);
    memset(&again, 0, sizeof again);
    if (bd_precision_parse(text, &policy, &error) == BD_OK) {
        if (!(policy.scale > 0 && isfinite(policy.scale)) || !(policy.growth > 1) ||
            !(policy.backoff > 0 && policy.backoff < 1) || policy.growth_interval < 1 ||
            policy.override_count > BD_MAX_OVERRIDES)
            abort();
        if (policy.history < 1 || policy.history > 65536 || (policy.history & (policy.history - 1)) != 0)
            abort();
        for (int role = 0; role < BD_ROLE_COUNT; role++) {
            const bd_format format = bd_precision_format(&policy, (bd_role)role, "linear1");
            const bd_rounding_rule rule = bd_precision_rule(&policy, (bd_role)role, "linear1");
            if (!bd_format_exists(format) || !may_have((bd_role)role, format) ||
                (unsigned)rule.mode >= BD_ROUND_MODE_COUNT || (format == BD_F32 && rule.mode != BD_ROUND_NEAREST))
                abort();
        }
        if (bd_precision_parse(policy.text, &again, NULL) != BD_OK || memcmp(&policy, &again, sizeof policy) != 0)
            abort();
    } else if (!error.message[0] || strpbrk(error.message, "\r\n")) {
        abort();
    }
    free(text);
    return 0;
}
