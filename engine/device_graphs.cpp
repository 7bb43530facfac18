#include "engine/device_graphs.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "base/assert.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kFineRows = 64;  // from where rows go in steps of as many

}  // namespace

std::size_t DeviceGraphs::shape_rows(std::size_t rows, std::size_t rows_max) {
  PONDER_ASSERT(rows > 0 && rows <= rows_max);
  const std::size_t rounded =
      rows <= kFineRows ? std::bit_ceil(rows) : (rows + kFineRows - 1) / kFineRows * kFineRows;
  return std::min(rounded, rows_max);
}

std::size_t DeviceGraphs::shape_keys(std::size_t keys, std::size_t index_topk,
                                     std::size_t keys_most) {
  PONDER_ASSERT(keys > 0 && keys <= keys_most);
  const std::size_t pages = std::bit_ceil(pages_for(std::max(keys, index_topk)));
  return std::min(pages * kPageTokens, keys_most);
}

DeviceGraphs::DeviceGraphs(std::shared_ptr<OpenDevice> device, bool is_on,
                           std::function<void(const std::string&)> on_notice)
    : device_(std::move(device)), is_on_(is_on), on_notice_(std::move(on_notice)) {}

DeviceGraphs::~DeviceGraphs() {
  for (const Entry& entry : entries_) {
    if (entry.graph != nullptr) device_->table().release_graph(entry.graph);
  }
}

void DeviceGraphs::run(const Shape& shape, const std::function<void()>& launch_all) {
  if (!is_on_) return launch_all();
  Entry* entry = find(shape);
  if (entry == nullptr) {
    add(shape);
    return launch_all();
  }
  entry->used = ++num_runs_;
  if (entry->graph == nullptr && !capture(*entry, launch_all)) return launch_all();
  device_->note(device_->table().launch_graph(entry->graph));
}

DeviceGraphs::Entry* DeviceGraphs::find(const Shape& shape) {
  const auto found = std::ranges::find(entries_, shape, &Entry::shape);
  return found == entries_.end() ? nullptr : &*found;
}

void DeviceGraphs::add(const Shape& shape) {
  if (entries_.size() >= graphs_max_) {
    const auto oldest = std::ranges::min_element(entries_, {}, &Entry::used);
    if (oldest->graph != nullptr) device_->table().release_graph(oldest->graph);
    entries_.erase(oldest);
  }
  entries_.push_back({.shape = shape, .used = ++num_runs_});
}

/// For memory; false when there is none. What is left is as much as there may be from now on.
bool DeviceGraphs::give_up_oldest_graph() {
  auto oldest = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->graph == nullptr) continue;
    if (oldest == entries_.end() || entry->used < oldest->used) oldest = entry;
  }
  if (oldest == entries_.end()) return false;
  device_->table().release_graph(oldest->graph);
  entries_.erase(oldest);
  graphs_max_ = entries_.size();
  return true;
}

/// False: the step is still to be launched, and `entry` may be gone.
bool DeviceGraphs::capture(Entry& entry, const std::function<void()>& launch_all) {
  const kernels::DeviceTable& table = device_->table();
  int code = table.begin_capture();
  if (code == 0) {
    launch_all();
    code = table.end_capture(&entry.graph);
  }
  if (code == 0) return true;
  // A device that has failed is another matter, and found by what follows.
  const bool is_alive = device_->note(table.wait()) == 0;
  if (is_alive && code == kernels::kDeviceOutOfMemory && give_up_oldest_graph()) return false;
  is_on_ = false;
  has_failed_ = true;
  if (is_alive && on_notice_) {
    on_notice_(
        fmt::format("device {}: steps are launched one operation at a time, for a graph "
                    "could not be made: {} (error {})",
                    table.name, table.error_text(code), code));
  }
  return false;
}

}  // namespace ponder::engine
