/* Plain matrix products through CLBlast (Nugteren, IWOCL 2018), where it is installed. */
#include "opencl.h"

#include "../../engine/emit.h"

#include <stdio.h>

#ifdef BD_HAVE_CLBLAST
#include <clblast_c.h>
#endif

#define HALF_ONE 0x3c00

bool opencl_has_library(void)
{
#ifdef BD_HAVE_CLBLAST
    return true;
#else
    return false;
#endif
}

void opencl_library_forget(void)
{
#ifdef BD_HAVE_CLBLAST
    CLBlastClearCache();
#endif
}

static const bd_binding *find_binding(const bd_dispatch *dispatch, bd_tensor node)
{
    for (int i = 0; i < dispatch->binding_count; ++i)
        if (dispatch->kernel->operands[i].node == node)
            return &dispatch->bindings[i];
    return NULL;
}

static const bd_binding *operand_binding(const bd_plan *plan, const bd_dispatch *dispatch, int input)
{
    return find_binding(
        dispatch, bd_stored_operand(plan->graph, bd_node_at(plan->graph, dispatch->kernel->anchor)->inputs[input]));
}

bd_status opencl_gemm_init(const bd_plan *plan, const bd_dispatch *dispatch, opencl_gemm *gemm, bd_error *error)
{
    bd_tensor product = dispatch->kernel->anchor;
    const bd_node *node = bd_node_at(plan->graph, product);
    const bd_shape *result = &node->shape, *left = &bd_node_at(plan->graph, node->inputs[0])->shape;
    const bd_binding *a = operand_binding(plan, dispatch, 0), *b = operand_binding(plan, dispatch, 1);
    const bd_binding *c = find_binding(dispatch, product);
    if (node->op != BD_OP_MATMUL || (node->format != BD_F32 && node->format != BD_F16) || node->chunks > 1 || !a ||
        !b || !c)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "kernel \"%s\" is no plain matrix product", dispatch->kernel->name);
    size_t element = bd_format_size(node->format);
    *gemm = (opencl_gemm){
        .format = node->format,
        .transpose = { node->attr.matmul.transpose[0], node->attr.matmul.transpose[1] },
        .m = (size_t)result->dim[result->rank - 2],
        .n = (size_t)result->dim[result->rank - 1],
        .k = (size_t)left->dim[left->rank - (node->attr.matmul.transpose[0] ? 2 : 1)],
        .batches = 1,
        .a = a->buffer->memory,
        .b = b->buffer->memory,
        .c = c->buffer->memory,
        .a_offset = a->offset / element,
        .b_offset = b->offset / element,
        .c_offset = c->offset / element,
    };
    for (int i = 0; i < result->rank - 2; ++i)
        gemm->batches *= (size_t)result->dim[i];
    return BD_OK;
}

bd_status opencl_gemm_enqueue(const opencl_gemm *gemm, cl_command_queue queue, bd_error *error)
{
#ifdef BD_HAVE_CLBLAST
    CLBlastTranspose transpose_a = gemm->transpose[0] ? CLBlastTransposeYes : CLBlastTransposeNo;
    CLBlastTranspose transpose_b = gemm->transpose[1] ? CLBlastTransposeYes : CLBlastTransposeNo;
    size_t m = gemm->m, n = gemm->n, k = gemm->k;
    size_t a_row = gemm->transpose[0] ? m : k, b_row = gemm->transpose[1] ? k : n;
    CLBlastStatusCode code;
    if (gemm->format == BD_F32 && gemm->batches == 1)
        code = CLBlastSgemm(CLBlastLayoutRowMajor, transpose_a, transpose_b, m, n, k, 1.0f, gemm->a, gemm->a_offset,
                            a_row, gemm->b, gemm->b_offset, b_row, 0.0f, gemm->c, gemm->c_offset, n, &queue, NULL);
    else if (gemm->format == BD_F32)
        code = CLBlastSgemmStridedBatched(CLBlastLayoutRowMajor, transpose_a, transpose_b, m, n, k, 1.0f, gemm->a,
                                          gemm->a_offset, a_row, m * k, gemm->b, gemm->b_offset, b_row, k * n, 0.0f,
                                          gemm->c, gemm->c_offset, n, m * n, gemm->batches, &queue, NULL);
    else if (gemm->batches == 1)
        code = CLBlastHgemm(CLBlastLayoutRowMajor, transpose_a, transpose_b, m, n, k, HALF_ONE, gemm->a, gemm->a_offset,
                            a_row, gemm->b, gemm->b_offset, b_row, 0, gemm->c, gemm->c_offset, n, &queue, NULL);
    else
        code = CLBlastHgemmStridedBatched(CLBlastLayoutRowMajor, transpose_a, transpose_b, m, n, k, HALF_ONE, gemm->a,
                                          gemm->a_offset, a_row, m * k, gemm->b, gemm->b_offset, b_row, k * n, 0,
                                          gemm->c, gemm->c_offset, n, m * n, gemm->batches, &queue, NULL);
    if (code == CLBlastSuccess)
        return BD_OK;
    char what[160];
    snprintf(what, sizeof what, "CLBlast, product of %zux%zu by %zux%zu", m, k, k, n);
    return opencl_queue_fail(error, (cl_int)code, what); /* its codes are OpenCL's, and more of its own */
#else
    (void)gemm, (void)queue;
    return bd_fail(error, BD_ERROR_UNSUPPORTED, "this build of Binade has no CLBlast");
#endif
}
