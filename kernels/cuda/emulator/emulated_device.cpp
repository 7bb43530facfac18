#include "kernels/cuda/emulator/emulated_device.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "kernels/cuda/operations.cuh"

namespace ponder::kernels {
namespace {

constexpr int kNoSuchDevice = 101;  // as CUDA numbers them
constexpr int kLost = 719;
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

Memory& memory() {
  static Memory the_memory;
  return the_memory;
}

int state() { return memory().is_lost ? kLost : 0; }

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
    default:
      return "unknown error";
  }
}

int allocate(void** at, std::size_t bytes) {
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

int download(void* to, const void* from, std::size_t bytes) {
  memory().downloaded += bytes;
  return move(to, from, bytes);
}

int record_event(std::size_t event) {
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
    table.upload = move;
    table.download = download;
    table.copy = move;
    table.wait = state;
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
void watch_emulated_memory(bool is_on) { emulator::watch_shared_memory(is_on); }

}  // namespace ponder::kernels
