#pragma once

// What the tests of device kernels share. They run on the emulated device, or, with
// PONDER_TEST_DEVICE=cuda, on a GPU; there a missing device is said and the test left out.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "kernels/cuda/emulator/emulated_device.h"
#include "kernels/cuda_library.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"

namespace ponder::kernels {

/// The device under test; null, with the reason in `why`, where there is none.
inline const DeviceTable* device_under_test(std::string& why) {
  const char* name = std::getenv("PONDER_TEST_DEVICE");
  if (name == nullptr || std::string_view(name) == "emulated") return &emulated_device();
  static const CudaLibrary library = load_cuda_library();
  why = library.reason;
  return library.table;
}

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    device_ = device_under_test(why);
    if (device_ == nullptr) GTEST_SKIP() << "no GPU: " << why;
    ASSERT_EQ(device_->open(0), 0);
  }
  void TearDown() override {
    if (device_ != nullptr) device_->close();
  }

  const DeviceTable& device() const { return *device_; }
  std::mt19937_64 rng{test_seed()};

 private:
  const DeviceTable* device_ = nullptr;
};

/// An array in device memory.
template <class T>
class DeviceArray {
 public:
  DeviceArray(const DeviceTable& device, const std::vector<T>& values)
      : device_(&device), size_(values.size()) {
    EXPECT_EQ(device.allocate(&at_, values.size() * sizeof(T)), 0);
    EXPECT_EQ(device.upload(at_, values.data(), values.size() * sizeof(T)), 0);
  }
  /// To be written: every byte is set, to a NaN as floats, so that what stays unwritten shows.
  DeviceArray(const DeviceTable& device, std::size_t n)
      : DeviceArray(device, std::vector<T>(n, poison())) {}
  ~DeviceArray() { device_->release(at_); }
  DeviceArray(const DeviceArray&) = delete;

  T* data() const { return static_cast<T*>(at_); }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    EXPECT_EQ(device_->download(values.data(), at_, size_ * sizeof(T)), 0);
    return values;
  }

 private:
  static T poison() {
    T value;
    std::memset(&value, 0xFF, sizeof value);
    return value;
  }
  const DeviceTable* device_;
  void* at_ = nullptr;
  std::size_t size_;
};

/// Sets a few places to a NaN and an infinity.
inline void put_special_values(std::vector<float>& values, std::mt19937_64& rng) {
  values[rng() % values.size()] = kNan;
  values[rng() % values.size()] = kInf;
}

}  // namespace ponder::kernels
