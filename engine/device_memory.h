#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/cache.h"
#include "kernels/cuda/device_table.h"

namespace ponder::engine {

/// An error code of a device as a Status: `exhausted` for memory that it does not have.
Status device_status(const kernels::DeviceTable& device, int code, std::string_view what);

/// The one of a backend's devices that has the most free memory.
struct FoundDevice {
  int index = 0;
  int count = 0;  // of devices that are there
  kernels::DeviceInfo info{};
  /// "device 1 of 0..1: NVIDIA H100 (compute capability 9.0, 79.10 GB free)"
  std::string description() const;
};
/// Fails (unavailable) when there is none that answers.
Result<FoundDevice> find_device(const kernels::DeviceTable& table);

/// The device while somebody uses it. Its memory goes back before it is closed: buffers are
/// declared after it, or hold it.
class OpenDevice {
 public:
  /// Opens find_device(). Fails (unavailable) when there is none, or it cannot be opened.
  static Result<std::shared_ptr<OpenDevice>> open(const kernels::DeviceTable& table);
  ~OpenDevice();
  OpenDevice(const OpenDevice&) = delete;

  const kernels::DeviceTable& table() const { return *table_; }
  const kernels::DeviceInfo& info() const { return info_; }

  /// Keeps the first code that is not 0: who shares a device that has failed learns of it, whoever
  /// met the error. Returns what is kept.
  int note(int code);
  int error() const { return error_; }

 private:
  OpenDevice(const kernels::DeviceTable& table, const kernels::DeviceInfo& info)
      : table_(&table), info_(info) {}
  const kernels::DeviceTable* table_;
  kernels::DeviceInfo info_;
  int error_ = 0;
};

/// A range of device memory, zeroed to begin with. Move-only. Shares the device with the others.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  static Result<DeviceBuffer> create(std::shared_ptr<OpenDevice> device, std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<OpenDevice> device_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Many pieces of device memory that live equally long.
class DeviceArena {
 public:
  explicit DeviceArena(std::shared_ptr<OpenDevice> device) : device_(std::move(device)) {}
  /// One that takes no memory and gives none: its pieces are null, and nothing is uploaded. What
  /// would be taken, bytes() tells.
  static DeviceArena that_counts() { return DeviceArena(nullptr); }
  /// Taken so far. Pieces that are taken in the same order take equally much.
  std::uint64_t bytes() const { return bytes_; }
  /// 256-byte aligned and zeroed.
  Result<std::byte*> allocate(std::size_t bytes);
  template <class T>
  Result<T*> allocate_array(std::size_t n) {
    PONDER_TRY(std::byte * at, allocate(n * sizeof(T)));
    return reinterpret_cast<T*>(at);
  }
  template <class T>
  Result<T*> upload(std::span<const T> values) {
    PONDER_TRY(T * at, allocate_array<T>(values.size()));
    if (device_ == nullptr) return at;
    const auto& table = device_->table();
    PONDER_CHECK(
        device_status(table, table.upload(at, values.data(), values.size_bytes()), "upload"));
    return at;
  }
  const std::shared_ptr<OpenDevice>& device() const { return device_; }

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{8} << 20;
  static constexpr std::size_t kPieceBytesMax = kChunkBytes / 8;  // that a chunk is divided into
  Result<std::byte*> take(std::vector<DeviceBuffer>& buffers, std::size_t bytes);

  std::shared_ptr<OpenDevice> device_;  // null: counts
  std::vector<DeviceBuffer> large_;     // of one piece each
  std::vector<DeviceBuffer> chunks_;    // of small pieces
  std::size_t used_ = kChunkBytes;      // of the last chunk
  std::uint64_t bytes_ = 0;
};

/// Cache pages in device memory. Nothing is read from or written to a device that has failed.
class DevicePageMemory final : public PageMemory {
 public:
  DevicePageMemory(std::shared_ptr<OpenDevice> device, DeviceBuffer memory)
      : device_(std::move(device)), memory_(std::move(memory)) {}
  std::byte* data() const override { return memory_.data(); }
  bool is_on_host() const override { return false; }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    device_->note(device_->table().copy(to, from, bytes));
  }
  bool read(std::span<std::byte> to, const std::byte* from) override;
  bool write(std::byte* to, std::span<const std::byte> from) override;

 private:
  std::shared_ptr<OpenDevice> device_;
  DeviceBuffer memory_;
};

}  // namespace ponder::engine
