#include "kernels/cuda/emulator/emulated_device.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "kernels/cuda/operations.cuh"

namespace ponder::kernels {
namespace {

constexpr int kNoSuchDevice = 101;  // as CUDA numbers them
constexpr int kLost = 719;
constexpr int kNotInACapture = 900;
constexpr std::size_t kAlignment = 256;

struct Memory {
  std::map<void*, std::size_t> allocated;
  std::size_t used = 0;
  std::size_t downloaded = 0;
  std::size_t limit = std::size_t{1} << 30;
  std::atomic<bool> is_lost = false;     // by a test while another thread computes
  std::vector<std::size_t> taken = {0};  // by others, of each device
  int in_use = 0;
  std::array<std::chrono::steady_clock::time_point, kDeviceEventsMax> events;
};

using Graph = std::vector<std::function<void()>>;

struct Graphs {
  std::map<void*, std::unique_ptr<Graph>> known;
  int capture_error = 0;  // of this capture
  std::size_t held_max = std::numeric_limits<std::size_t>::max();
  std::size_t num_launches = 0;
};

Graphs& graphs() {
  static Graphs the_graphs;
  return the_graphs;
}

Memory& memory() {
  static Memory the_memory;
  return the_memory;
}

int state() { return memory().is_lost ? kLost : 0; }

/// For what a capture does not keep: as with CUDA, it fails, and the capture with it.
bool is_refused() {
  if (!emulator::is_recording()) return false;
  graphs().capture_error = kNotInACapture;
  return true;
}

int num_devices(int* count) {
  *count = static_cast<int>(memory().taken.size());
  return 0;
}

int describe(int device, DeviceInfo* info) {
  *info = {};
  std::strncpy(info->name, "emulated device", sizeof info->name - 1);
  info->compute_capability = 80;
  info->num_processors = 1;
  info->memory_bytes = memory().limit;
  const std::size_t taken = memory().taken.at(static_cast<std::size_t>(device));
  info->memory_bytes_free = memory().limit - memory().used - taken;
  return 0;
}

int open(int device) {
  if (static_cast<std::size_t>(device) >= memory().taken.size()) return kNoSuchDevice;
  memory().in_use = device;
  return state();
}

void close() {}

const char* error_text(int code) {
  switch (code) {
    case 0:
      return "no error";
    case kDeviceOutOfMemory:
      return "out of memory";
    case kLost:
      return "device lost";
    case kNotInACapture:
      return "not permitted in a capture";
    default:
      return "unknown error";
  }
}

int allocate(void** at, std::size_t bytes) {
  if (is_refused()) return kNotInACapture;
  const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (memory().used + size > memory().limit) return kDeviceOutOfMemory;
  *at = std::aligned_alloc(kAlignment, size == 0 ? kAlignment : size);
  std::memset(*at, 0, size);
  memory().allocated[*at] = size;
  memory().used += size;
  return 0;
}

void release(void* at) {
  const auto found = memory().allocated.find(at);
  if (found == memory().allocated.end()) return;
  memory().used -= found->second;
  memory().allocated.erase(found);
  std::free(at);
}

int move(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
  return state();
}

/// To or from the host.
int transfer(void* to, const void* from, std::size_t bytes) {
  return is_refused() ? kNotInACapture : move(to, from, bytes);
}

int download(void* to, const void* from, std::size_t bytes) {
  memory().downloaded += bytes;
  return transfer(to, from, bytes);
}

int copy(void* to, const void* from, std::size_t bytes) {
  if (!emulator::is_recording()) return move(to, from, bytes);
  emulator::submit([to, from, bytes] { move(to, from, bytes); });
  return state();
}

int wait() { return is_refused() ? kNotInACapture : state(); }

int begin_capture() {
  if (is_refused() || state() != 0) return emulator::is_recording() ? kNotInACapture : state();
  graphs().capture_error = 0;
  emulator::start_recording();
  return 0;
}

int end_capture(void** graph) {
  *graph = nullptr;
  auto work = std::make_unique<Graph>(emulator::stop_recording());
  if (state() != 0) return state();
  if (graphs().capture_error != 0) return graphs().capture_error;
  if (graphs().known.size() >= graphs().held_max) return kDeviceOutOfMemory;
  *graph = work.get();
  graphs().known[*graph] = std::move(work);
  return 0;
}

int launch_graph(void* graph) {
  if (is_refused()) return kNotInACapture;
  ++graphs().num_launches;
  for (const auto& work : *graphs().known.at(graph)) work();
  return state();
}

void release_graph(void* graph) { graphs().known.erase(graph); }

int record_event(std::size_t event) {
  if (is_refused()) return kNotInACapture;
  memory().events.at(event) = std::chrono::steady_clock::now();
  return state();
}

int event_ms(std::size_t from, std::size_t to, float* ms) {
  const auto& events = memory().events;
  *ms = std::chrono::duration<float, std::milli>(events.at(to) - events.at(from)).count();
  return state();
}

void* native_stream() { return nullptr; }

}  // namespace

const DeviceTable& emulated_device() {
  static const DeviceTable the_table = [] {
    DeviceTable table{};
    table.version = kDeviceTableVersion;
    table.name = "emulated";
    table.num_devices = num_devices;
    table.describe = describe;
    table.open = open;
    table.close = close;
    table.error_text = error_text;
    table.allocate = allocate;
    table.release = release;
    table.upload = transfer;
    table.download = download;
    table.copy = copy;
    table.wait = wait;
    table.begin_capture = begin_capture;
    table.end_capture = end_capture;
    table.launch_graph = launch_graph;
    table.release_graph = release_graph;
    table.record_event = record_event;
    table.event_ms = event_ms;
    table.native_stream = native_stream;
    set_operations(table);
    return table;
  }();
  return the_table;
}

void set_emulated_devices(std::vector<std::size_t> bytes_taken) {
  memory().taken = std::move(bytes_taken);
}
int emulated_device_in_use() { return memory().in_use; }

void set_emulated_memory(std::size_t bytes_max) { memory().limit = bytes_max; }
std::size_t emulated_memory_used() { return memory().used; }
std::size_t emulated_bytes_downloaded() { return memory().downloaded; }
void lose_emulated_device(bool is_lost) { memory().is_lost = is_lost; }
void limit_emulated_graphs(std::size_t held_max) { graphs().held_max = held_max; }
EmulatedLaunches emulated_launches() {
  return {emulator::num_launches(), graphs().num_launches, graphs().known.size()};
}
void watch_emulated_memory(bool is_on) { emulator::watch_shared_memory(is_on); }

}  // namespace ponder::kernels
