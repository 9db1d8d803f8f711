/* libFuzzer: any bytes as a quirks file; whatever is accepted must be within its bounds and can be told. */
#include "../../engine/quirks.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const bd_device_info info = { .backend = "vulkan", .name = "Toy", .driver = "toy 1.2" };
    bd_quirks quirks, twice = { 0 };
    char text[512];
    bd_error error = { BD_OK, "" };
    const bd_status status = bd_quirks_parse("FILE", (const char *)bytes, size, &info, &quirks, &error);
    if (status != BD_OK) {
        if (bd_quirks_any(&quirks) || !error.message[0])
            abort();
        return 0;
    }
    bd_quirks_merge(&twice, &quirks);
    bd_quirks_merge(&twice, &quirks);
    bd_quirks_describe(&twice, text, sizeof text);
    for (int i = 0; i < quirks.wrong_count; i++)
        if (!memchr(quirks.wrong[i], 0, sizeof quirks.wrong[i]))
            abort();
    if (bd_quirks_any(&quirks) != (text[0] != 0) || quirks.avoid[BD_U8][BD_F32] || quirks.avoid[BD_F32][BD_U32])
        abort();
    return 0;
}
