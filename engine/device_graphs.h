#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/device_memory.h"

namespace ponder::engine {

/// Steps of decoding that are launched as a whole: a graph of the device holds what a step of one
/// shape launches, so that the program need not launch it operation by operation.
///
/// A graph is made when its shape comes for the second time, so that what comes once costs nothing.
/// There are at most kGraphsMax shapes; then the one that was used least recently goes.
///
/// Where the device has no memory for another one, the one that was used least recently goes, and
/// there are never more than those that are left. Where it can make none at all, steps are launched
/// as they were, for good, and that is said once. A graph that fails when it is launched is an
/// error of the device.
///
/// Thread: none; the model's.
class DeviceGraphs {
 public:
  static constexpr std::size_t kGraphsMax = 64;

  /// What all arguments of a step's launches follow from, but for constants of the model.
  struct Shape {
    std::size_t rows;
    std::size_t keys_max;
    const std::byte* pages;  // of the cache
    bool operator==(const Shape&) const = default;
  };
  /// The shape that holds so many rows: powers of two up to 64, then multiples of 64; at most
  /// `rows_max`. Requires: 0 < rows <= rows_max.
  static std::size_t shape_rows(std::size_t rows, std::size_t rows_max);
  /// The shape that holds so many keys: pages in powers of two, at least all that are selected
  /// without scores; at most `keys_most`. Requires: 0 < keys <= keys_most.
  static std::size_t shape_keys(std::size_t keys, std::size_t index_topk, std::size_t keys_most);

  /// `on_notice` may be empty.
  DeviceGraphs(std::shared_ptr<OpenDevice> device, bool is_on,
               std::function<void(const std::string&)> on_notice);
  ~DeviceGraphs();
  DeviceGraphs(const DeviceGraphs&) = delete;
  DeviceGraphs& operator=(const DeviceGraphs&) = delete;

  bool is_on() const { return is_on_; }
  /// Off, graphs that were made stay.
  void turn(bool is_on) { is_on_ = is_on && !has_failed_; }

  /// Does what `launch_all` does, or does it by a graph. Requires: `launch_all` only launches
  /// operations, whose arguments follow from the shape; nothing is under way from an earlier step.
  void run(const Shape& shape, const std::function<void()>& launch_all);

 private:
  struct Entry {
    Shape shape;
    void* graph = nullptr;  // null: it came once
    std::uint64_t used = 0;
  };
  Entry* find(const Shape& shape);
  void add(const Shape& shape);
  bool capture(Entry& entry, const std::function<void()>& launch_all);
  bool give_up_oldest_graph();

  std::shared_ptr<OpenDevice> device_;
  bool is_on_;
  bool has_failed_ = false;
  std::function<void(const std::string&)> on_notice_;
  std::vector<Entry> entries_;
  std::size_t graphs_max_ = kGraphsMax;
  std::uint64_t num_runs_ = 0;
};

}  // namespace ponder::engine
