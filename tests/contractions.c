#include "contractions.h"
#include "tensor_cores.h"

#include <check.h>

const bd_tile tile_with_maps = { .kind = BD_TILE_WARPGROUP, .m = 128, .n = 128, .k = 64, .item_m = 16, .item_n = 128 };

bd_target target_with_maps(void)
{
    bd_target target = tensor_cores();
    target.matrix.tensor_maps = true;
    return target;
}

static bd_tensor variable(bd_graph *graph, const char *name, bd_shape shape)
{
    return bd_variable(graph, name, BD_ROLE_FIXED, BD_F16, shape, (bd_init){ BD_INIT_CONSTANT, 0 });
}

bd_graph *contraction_graph(const contraction_case *c, bd_tensor *y)
{
    bd_graph *graph;
    bd_error error;
    const bd_window *w = &c->window;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    if (c->op == BD_OP_MATMUL) {
        const bd_tensor a = variable(graph, "/a", c->transpose[0] ? BD_SHAPE(c->k, c->m) : BD_SHAPE(c->m, c->k));
        const bd_tensor b = variable(graph, "/b", c->transpose[1] ? BD_SHAPE(c->n, c->k) : BD_SHAPE(c->k, c->n));
        *y = bd_matmul(graph, a, b, c->transpose[0], c->transpose[1]);
    } else {
        const bd_shape x = BD_SHAPE(c->images, c->rows, c->columns, c->channels);
        const bd_shape weights = BD_SHAPE(w->size[0], w->size[1], c->channels, c->outputs);
        const int64_t rows = (c->rows + w->pad[0][0] + w->pad[0][1] - w->size[0]) / w->stride[0] + 1;
        const int64_t columns = (c->columns + w->pad[1][0] + w->pad[1][1] - w->size[1]) / w->stride[1] + 1;
        const bd_shape dy = BD_SHAPE(c->images, rows, columns, c->outputs);
        const bd_tensor a = variable(graph, "/a", c->op == BD_OP_CONV2D_DATA ? dy : x);
        const bd_tensor b = variable(graph, "/b", c->op == BD_OP_CONV2D_WEIGHT ? dy : weights);
        *y = c->op == BD_OP_CONV2D        ? bd_conv2d(graph, a, b, *w)
             : c->op == BD_OP_CONV2D_DATA ? bd_conv2d_data(graph, a, b, *w, x)
                                          : bd_conv2d_weight(graph, a, b, *w, weights);
    }
    ck_assert_msg(*y != BD_NONE, "no such contraction");
    graph->nodes[*y].format = BD_F16;
    return graph;
}

bd_plan *contraction_plan(bd_graph *graph, bd_tensor y, const bd_target *target)
{
    bd_plan *plan;
    bd_error error;
    bd_assign(graph, variable(graph, "/y", bd_tensor_shape(graph, y)), y);
    graph->nodes[graph->node_count - 1].format = BD_F16;
    const bd_status status = bd_plan_create(graph, target, NULL, &plan, &error);
    ck_assert_msg(status == BD_OK, "%s", error.message);
    return plan;
}

bd_kernel *contraction_kernel(const bd_plan *plan)
{
    for (int k = 0; k < plan->kernel_count; k++)
        if (plan->kernels[k].class == BD_KERNEL_CONTRACTION)
            return &plan->kernels[k];
    ck_abort_msg("no contraction");
    return NULL;
}
