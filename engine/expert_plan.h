#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/device_choice.h"

/// Which layers' routed experts lie in a device's memory, and which stay in host memory, where the
/// CPU computes them. Numbers alone: nothing here touches a device.
namespace ponder::engine {

/// What a model takes of a device's memory.
struct DeviceNeed {
  /// One layer's routed experts.
  struct Experts {
    std::size_t layer = 0;
    std::uint64_t bytes = 0;
  };
  std::uint64_t weight_bytes = 0;  // without routed experts
  std::uint64_t workspace_bytes = 0;
  std::uint64_t cache_bytes = 0;
  std::vector<Experts> experts;  // of all layers that have some, ascending

  /// With the routed experts of the first `num_layers` of these layers.
  std::uint64_t bytes_with(std::size_t num_layers) const;
};

/// The device that it should fit in, and the host beside it.
struct DeviceRoom {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_free = 0;
  std::uint64_t host_bytes_free = 0;  // before experts were loaded there
};

struct ExpertPlan {
  std::size_t num_on_device = 0;  // of DeviceNeed::experts, the first ones
  std::string text;               // what was chosen, with the numbers; one line
};

/// A 64th of the device's memory is left alone, for what its driver needs later: a device that has
/// none left then is lost. `automatic` takes as many layers as fit, from the first on: a row reads
/// equally many bytes in each, so only the MTP layer differs, which comes last: no prompt passes
/// through it.
/// Fails (exhausted), with the numbers, when the device cannot hold what is to be on it. Experts
/// that host memory cannot hold either are read from their files, as on the CPU: the text says so.
Result<ExpertPlan> plan_experts(const DeviceNeed& need, ExpertPlacement placement,
                                const DeviceRoom& room);

}  // namespace ponder::engine
