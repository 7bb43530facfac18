#include "engine/device_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/machine_memory.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kAlignment = 256;

}  // namespace

Status device_status(const kernels::DeviceTable& device, int code, std::string_view what) {
  if (code == 0) return {};
  return fail(Errc::unavailable, fmt::format("device {}: {}: {} (error {})", device.name, what,
                                             device.error_text(code), code));
}

std::string FoundDevice::description() const {
  const std::string place = count == 1 ? std::string("the only device")
                                       : fmt::format("device {} of 0..{}", index, count - 1);
  return fmt::format("{}: {} (compute capability {}.{}, {} free)", place, info.name,
                     info.compute_capability / 10, info.compute_capability % 10,
                     bytes_text(info.memory_bytes_free));
}

Result<FoundDevice> find_device(const kernels::DeviceTable& table) {
  int count = 0;
  PONDER_CHECK(device_status(table, table.num_devices(&count), "count devices"));
  std::optional<FoundDevice> best;
  for (int i = 0; i < count; ++i) {
    kernels::DeviceInfo info{};
    if (table.describe(i, &info) != 0) continue;
    if (!best || info.memory_bytes_free > best->info.memory_bytes_free) best = {i, count, info};
  }
  if (!best) return fail(Errc::unavailable, fmt::format("device {}: none", table.name));
  return *best;
}

Result<std::shared_ptr<OpenDevice>> OpenDevice::open(const kernels::DeviceTable& table) {
  PONDER_TRY(const FoundDevice found, find_device(table));
  PONDER_CHECK(device_status(table, table.open(found.index), "open"));
  std::unique_ptr<OpenDevice> device(new OpenDevice(table, found.info));
  return std::shared_ptr<OpenDevice>(std::move(device));
}

OpenDevice::~OpenDevice() { table_->close(); }

int OpenDevice::note(int code) {
  if (error_ == 0) error_ = code;
  return error_;
}

Result<DeviceBuffer> DeviceBuffer::create(std::shared_ptr<OpenDevice> device, std::size_t bytes) {
  DeviceBuffer buffer;
  void* at = nullptr;
  if (const int code = device->table().allocate(&at, bytes); code != 0) {
    PONDER_CHECK(device_status(device->table(), device->table().wait(), "allocate"));
    return fail(Errc::exhausted,
                fmt::format("device {}: no memory for {} more: {}", device->info().name,
                            bytes_text(bytes), device->table().error_text(code)));
  }
  buffer.device_ = std::move(device);
  buffer.data_ = static_cast<std::byte*>(at);
  buffer.size_ = bytes;
  return buffer;
}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) device_->table().release(data_);
}

Result<std::byte*> DeviceArena::allocate(std::size_t bytes) {
  const std::size_t needed = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  // A large piece leaves the chunk to the small ones that follow it.
  if (needed > kPieceBytesMax) return take(large_, needed);
  if (kChunkBytes - used_ < needed) {
    PONDER_CHECK(take(chunks_, kChunkBytes));
    used_ = 0;
  }
  std::byte* const at = chunks_.empty() ? nullptr : chunks_.back().data() + used_;
  used_ += needed;
  return at;
}

Result<std::byte*> DeviceArena::take(std::vector<DeviceBuffer>& buffers, std::size_t bytes) {
  bytes_ += bytes;
  if (device_ == nullptr) return nullptr;
  PONDER_TRY(DeviceBuffer buffer, DeviceBuffer::create(device_, bytes));
  buffers.push_back(std::move(buffer));
  return buffers.back().data();
}

bool DevicePageMemory::read(std::span<std::byte> to, const std::byte* from) {
  if (device_->error() != 0) return false;
  return device_->note(device_->table().download(to.data(), from, to.size())) == 0;
}

/// An upload does not wait: what goes wrong later, a forward pass finds.
bool DevicePageMemory::write(std::byte* to, std::span<const std::byte> from) {
  if (device_->error() != 0) return false;
  return device_->note(device_->table().upload(to, from.data(), from.size())) == 0;
}

}  // namespace ponder::engine
