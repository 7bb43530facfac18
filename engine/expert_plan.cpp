#include "engine/expert_plan.h"

#include <fmt/format.h>

#include <span>

#include "engine/machine_memory.h"

namespace ponder::engine {
namespace {

constexpr std::uint64_t kSpareShare = 64;

using Layers = std::span<const DeviceNeed::Experts>;

std::uint64_t bytes_of(Layers layers) {
  std::uint64_t bytes = 0;
  for (const DeviceNeed::Experts& layer : layers) bytes += layer.bytes;
  return bytes;
}

/// "layers 3..60 (638.29 GB)"
std::string layers_text(Layers layers) {
  const std::string bytes = bytes_text(bytes_of(layers));
  if (layers.size() == 1) return fmt::format("layer {} ({})", layers.front().layer, bytes);
  return fmt::format("layers {}..{} ({})", layers.front().layer, layers.back().layer, bytes);
}

std::string need_text(const DeviceNeed& need, std::size_t num_on_device, const DeviceRoom& room) {
  std::string text =
      fmt::format("{} (weights {}, workspace {}, cache {}",
                  bytes_text(need.bytes_with(num_on_device)), bytes_text(need.weight_bytes),
                  bytes_text(need.workspace_bytes), bytes_text(need.cache_bytes));
  if (num_on_device > 0) {
    const auto experts = Layers(need.experts).first(num_on_device);
    text += fmt::format(", routed experts {}", bytes_text(bytes_of(experts)));
  }
  return text + fmt::format(") of {} free on {}", bytes_text(room.bytes_free), room.name);
}

std::string plan_text(const DeviceNeed& need, std::size_t num_on_device, const DeviceRoom& room) {
  const std::string needed = need_text(need, num_on_device, room);
  if (num_on_device == need.experts.size()) {
    return fmt::format("all weights on the GPU: {}", needed);
  }
  const auto staying = Layers(need.experts).subspan(num_on_device);
  std::string in_host_memory = fmt::format("{} in host memory", layers_text(staying));
  if (bytes_of(staying) > room.host_bytes_free) {
    in_host_memory +=
        fmt::format(", of which {} are available: read from disk at almost every token",
                    bytes_text(room.host_bytes_free));
  }
  if (num_on_device == 0) {
    return fmt::format("routed experts of {}; on the GPU {}", in_host_memory, needed);
  }
  return fmt::format("routed experts of {} on the GPU, of {}; on the GPU {}",
                     layers_text(Layers(need.experts).first(num_on_device)), in_host_memory,
                     needed);
}

}  // namespace

std::uint64_t DeviceNeed::bytes_with(std::size_t num_layers) const {
  return weight_bytes + workspace_bytes + cache_bytes + bytes_of(Layers(experts).first(num_layers));
}

Result<ExpertPlan> plan_experts(const DeviceNeed& need, ExpertPlacement placement,
                                const DeviceRoom& room) {
  std::size_t num_on_device = placement == ExpertPlacement::host ? 0 : need.experts.size();
  const std::uint64_t spare = room.bytes / kSpareShare;
  const auto fits = [&](std::size_t n) { return need.bytes_with(n) + spare <= room.bytes_free; };
  if (placement == ExpertPlacement::automatic) {
    while (num_on_device > 0 && !fits(num_on_device)) --num_on_device;
  }
  if (!fits(num_on_device)) {
    const bool is_without = num_on_device == 0 && !need.experts.empty();
    return fail(Errc::exhausted,
                fmt::format("{}: no memory for {}{}, of which {} are left to its driver", room.name,
                            is_without ? "the model even without its routed experts: " : "",
                            need_text(need, num_on_device, room), bytes_text(spare)));
  }
  return ExpertPlan{num_on_device, plan_text(need, num_on_device, room)};
}

}  // namespace ponder::engine
