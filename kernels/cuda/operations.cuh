#pragma once

// All operations of a DeviceTable, for the file that adds the device itself.

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_expanded.cuh"
#include "kernels/cuda/best_logits.cuh"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/index_scores_mma.cuh"
#include "kernels/cuda/index_select.cuh"
#include "kernels/cuda/index_select_split.cuh"
#include "kernels/cuda/latents.cuh"
#include "kernels/cuda/matmul_mma.cuh"
#include "kernels/cuda/probe.cuh"
#include "kernels/cuda/queries.cuh"
#include "kernels/cuda/router.cuh"

namespace ponder::kernels {
namespace {

void set_operations(DeviceTable& table) {
  table.matmul = launch_matmul;
  table.gather_rows = launch_gather_rows;
  table.rms_norm = launch_rms_norm;
  table.residual_norm = launch_residual_norm;
  table.latents = launch_latents;
  table.queries = launch_queries;
  table.silu_mul = launch_silu_mul;
  table.router = launch_router;
  table.group_by_expert = launch_group_by_expert;
  table.index_scores = launch_index_scores;
  table.select = launch_select;
  table.translate = launch_translate;
  table.best_logits = launch_best_logits;
  table.attention = launch_attention;
  table.read_latents = launch_read_latents;
  table.attention_expanded = launch_attention_expanded;
  table.probe_products = launch_probe_products;
}

}  // namespace
}  // namespace ponder::kernels
