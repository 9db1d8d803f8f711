/* GLSL to SPIR-V through glslang's C interface, remembered on disk. */
#include "vulkan.h"

#include "../../engine/cache.h"
#include "../../engine/text.h"

#include <glslang/Include/glslang_c_interface.h>
#include <glslang/Public/resource_limits_c.h>
#include <glslang/build_info.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Execution modes of SPV_KHR_float_controls and the capability that each needs (SPIR-V specification, 3.6 and 3.31). */
enum {
    MODE_DENORM_PRESERVE = 4459,
    MODE_SIGNED_ZERO_INF_NAN_PRESERVE = 4461,
    MODE_ROUNDING_RTE = 4462,
    CAPABILITY_DENORM_PRESERVE = 4464,
    CAPABILITY_SIGNED_ZERO_INF_NAN_PRESERVE = 4466,
    CAPABILITY_ROUNDING_RTE = 4467,
};

static void ask(bd_text *text, bool supported, int mode, int capability, int bits)
{
    if (supported)
        bd_text_append(
            text, "spirv_execution_mode(extensions = [\"SPV_KHR_float_controls\"], capabilities = [%d], %d, %d);\n",
            capability, mode, bits);
}

char *bd_vk_preamble(const bd_vk_abilities *abilities)
{
    bd_text text = { 0 };
    bd_text_append(&text, "#define BD_FLOAT16 %d\n", abilities->float16);
    if (abilities->float_controls)
        bd_text_append(&text, "#extension GL_EXT_spirv_intrinsics : require\n");
    ask(&text, abilities->rte32, MODE_ROUNDING_RTE, CAPABILITY_ROUNDING_RTE, 32);
    ask(&text, abilities->denormals32, MODE_DENORM_PRESERVE, CAPABILITY_DENORM_PRESERVE, 32);
    ask(&text, abilities->nan32, MODE_SIGNED_ZERO_INF_NAN_PRESERVE, CAPABILITY_SIGNED_ZERO_INF_NAN_PRESERVE, 32);
    ask(&text, abilities->rte16, MODE_ROUNDING_RTE, CAPABILITY_ROUNDING_RTE, 16);
    ask(&text, abilities->denormals16, MODE_DENORM_PRESERVE, CAPABILITY_DENORM_PRESERVE, 16);
    ask(&text, abilities->nan16, MODE_SIGNED_ZERO_INF_NAN_PRESERVE, CAPABILITY_SIGNED_ZERO_INF_NAN_PRESERVE, 16);
    if (text.failed)
        bd_text_finish(&text);
    return text.failed ? NULL : text.data;
}

/* The first line of a compiler's log that tells an error. */
static bd_status fail_with_log(bd_error *error, const char *name, const char *log)
{
    const char *line = log ? strstr(log, "ERROR") : NULL;
    if (!line)
        line = log ? log : "";
    return bd_fail(error, BD_ERROR_DEVICE, "kernel %s: glslang refuses its GLSL: %.*s", name, (int)strcspn(line, "\n"),
                   line);
}

bool bd_vk_compiles_matrices(void)
{
    return GLSLANG_VERSION_MAJOR >= 13; /* the first that knows GL_KHR_cooperative_matrix */
}

bool bd_vk_compiles_joined_matrices(void)
{
    return GLSLANG_VERSION_MAJOR > 15 || (GLSLANG_VERSION_MAJOR == 15 && GLSLANG_VERSION_MINOR >= 1);
}

/* glslang makes its tables of built-in functions once in a process that stays initialised. */
static void start_glslang(void)
{
    glslang_initialize_process();
}

static bd_status compile(const char *name, const char *preamble, const char *source, bool matrices, uint32_t **words,
                         size_t *bytes, bd_error *error)
{
    glslang_input_t input = {
        .language = GLSLANG_SOURCE_GLSL,
        .stage = GLSLANG_STAGE_COMPUTE,
        .client = GLSLANG_CLIENT_VULKAN,
        .client_version = matrices ? GLSLANG_TARGET_VULKAN_1_3 : GLSLANG_TARGET_VULKAN_1_1,
        .target_language = GLSLANG_TARGET_SPV,
        .target_language_version = matrices ? GLSLANG_TARGET_SPV_1_6 : GLSLANG_TARGET_SPV_1_3,
        .code = source,
        .default_version = 450,
        .default_profile = GLSLANG_NO_PROFILE,
        .force_default_version_and_profile = true,
        .messages = GLSLANG_MSG_DEFAULT_BIT,
        .resource = glslang_default_resource(),
    };
    bd_status status = BD_OK;
    glslang_shader_t *shader = glslang_shader_create(&input);
    glslang_program_t *program = glslang_program_create();
    if (!shader || !program)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory to compile kernel %s", name);
    if (status == BD_OK) {
        glslang_shader_set_preamble(shader, preamble);
        if (!glslang_shader_preprocess(shader, &input) || !glslang_shader_parse(shader, &input))
            status = fail_with_log(error, name, glslang_shader_get_info_log(shader));
    }
    if (status == BD_OK) {
        glslang_program_add_shader(program, shader);
        if (!glslang_program_link(program, GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT))
            status = fail_with_log(error, name, glslang_program_get_info_log(program));
    }
    if (status == BD_OK) {
        glslang_program_SPIRV_generate(program, GLSLANG_STAGE_COMPUTE);
        *bytes = glslang_program_SPIRV_get_size(program) * sizeof **words;
        *words = malloc(*bytes);
        if (*words)
            glslang_program_SPIRV_get(program, *words);
        else
            status = bd_fail(error, BD_ERROR_MEMORY, "no memory to compile kernel %s", name);
    }
    if (program)
        glslang_program_delete(program);
    if (shader)
        glslang_shader_delete(shader);
    return status;
}

bd_status bd_vk_spirv(bd_vk_device *device, const char *name, const char *source, bool matrices, uint32_t **words,
                      size_t *bytes, bd_error *error)
{
    char version[64];
    snprintf(version, sizeof version, "glslang %d.%d.%d, SPIR-V 1.%d", GLSLANG_VERSION_MAJOR, GLSLANG_VERSION_MINOR,
             GLSLANG_VERSION_PATCH, matrices ? 6 : 3);
    const char *parts[] = { version, device->preamble, source };
    bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
    void *data = NULL;
    if (bd_cache_get(device->base.cache, "spirv", key, &data, bytes)) {
        *words = data;
        if (*bytes > sizeof **words && *bytes % sizeof **words == 0 && (*words)[0] == BD_VK_SPIRV_MAGIC)
            return BD_OK;
        free(data);
    }
    *words = NULL;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_glslang);
    bd_status status = compile(name, device->preamble, source, matrices, words, bytes, error);
    if (status == BD_OK)
        status = bd_vk_spirv_floats(words, bytes, error);
    if (status == BD_OK)
        bd_cache_put(device->base.cache, "spirv", key, *words, *bytes);
    if (status != BD_OK) {
        free(*words);
        *words = NULL;
    }
    return status;
}
