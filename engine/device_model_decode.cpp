// Steps in which every sequence has one row: computed for the rows and keys of a shape that graphs
// are made for, so that nothing in a launch depends on the step.

#include <algorithm>

#include "engine/device_model.h"
#include "engine/device_workspace.h"

namespace ponder::engine {

/// Whether the layers can be launched without the host in between. The MTP layer is none of them.
bool DeviceModel::can_capture() const {
  const bool is_host_between = host_ != nullptr && host_->first_layer() < config_.num_hidden_layers;
  return graphs_.is_on() && forced_ == nullptr && !is_host_between;
}

/// A prompt's last row, alone in its step, looks like one that is generated.
bool DeviceModel::is_decode(std::span<const BatchSegment> segments) const {
  return step_.plan.expanded.empty() &&
         std::ranges::all_of(segments, [](const BatchSegment& segment) {
           return segment.tokens.size() == 1 && segment.wants_logits && segment.num_drafts == 0;
         });
}

/// The head is launched for the rows that there are, and not in the graph: it is one operation, and
/// the logits of many rows come in several pieces.
std::span<const float> DeviceModel::decode(std::span<const BatchSegment> segments) {
  step_.rows = DeviceGraphs::shape_rows(step_.num_rows(), rows_max_);
  step_.keys_max =
      DeviceGraphs::shape_keys(step_.keys_max, config_.index_topk, config_.max_position_embeddings);
  upload_step(segments);
  graphs_.run({step_.rows, step_.keys_max, step_.pages}, [this] { compute_layers(nullptr); });
  step_.rows = step_.num_rows();
  return apply_head(segments, ws_->final_hidden);
}

}  // namespace ponder::engine
