#include "kernels/cuda/emulator/emulated_device.h"

#include <cstdlib>
#include <cstring>
#include <map>

#include "kernels/cuda/operations.cuh"

namespace ponder::kernels {
namespace {

constexpr int kLost = 719;  // as CUDA numbers it
constexpr std::size_t kAlignment = 256;

struct Memory {
  std::map<void*, std::size_t> allocated;
  std::size_t used = 0;
  std::size_t limit = std::size_t{1} << 30;
  bool is_lost = false;
};

Memory& memory() {
  static Memory the_memory;
  return the_memory;
}

int state() { return memory().is_lost ? kLost : 0; }

int num_devices(int* count) {
  *count = 1;
  return 0;
}

int describe(int, DeviceInfo* info) {
  *info = {};
  std::strncpy(info->name, "emulated device", sizeof info->name - 1);
  info->compute_capability = 80;
  info->num_processors = 1;
  info->memory_bytes = memory().limit;
  info->memory_bytes_free = memory().limit - memory().used;
  return 0;
}

int open(int device) { return device == 0 ? state() : 101; }

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
    table.download = move;
    table.copy = move;
    table.wait = state;
    set_operations(table);
    return table;
  }();
  return the_table;
}

void set_emulated_memory(std::size_t bytes_max) { memory().limit = bytes_max; }
std::size_t emulated_memory_used() { return memory().used; }
void lose_emulated_device(bool is_lost) { memory().is_lost = is_lost; }
void watch_emulated_memory(bool is_on) { emulator::watch_shared_memory(is_on); }

}  // namespace ponder::kernels
