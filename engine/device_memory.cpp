#include "engine/device_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/machine_memory.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kChunkBytes = std::size_t{8} << 20;

}  // namespace

Status device_status(const kernels::DeviceTable& device, int code, std::string_view what) {
  if (code == 0) return {};
  return fail(Errc::unavailable, fmt::format("device {}: {}: {} (error {})", device.name, what,
                                             device.error_text(code), code));
}

Result<std::shared_ptr<OpenDevice>> OpenDevice::open(const kernels::DeviceTable& table) {
  int count = 0;
  PONDER_CHECK(device_status(table, table.num_devices(&count), "count devices"));
  std::optional<std::pair<int, kernels::DeviceInfo>> best;
  for (int i = 0; i < count; ++i) {
    kernels::DeviceInfo info{};
    if (table.describe(i, &info) != 0) continue;
    if (!best || info.memory_bytes_free > best->second.memory_bytes_free) best.emplace(i, info);
  }
  if (!best) return fail(Errc::unavailable, fmt::format("device {}: none", table.name));
  PONDER_CHECK(device_status(table, table.open(best->first), "open"));
  std::unique_ptr<OpenDevice> device(new OpenDevice(table, best->second));
  return std::shared_ptr<OpenDevice>(std::move(device));
}

OpenDevice::~OpenDevice() { table_->close(); }

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
  if (chunks_.empty() || chunks_.back().size() - used_ < needed) {
    PONDER_TRY(DeviceBuffer chunk, DeviceBuffer::create(device_, std::max(needed, kChunkBytes)));
    chunks_.push_back(std::move(chunk));
    used_ = 0;
  }
  std::byte* at = chunks_.back().data() + used_;
  used_ += needed;
  return at;
}

}  // namespace ponder::engine
