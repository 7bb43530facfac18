// Loading the backend where there is a driver: a made-up one, which the loader finds first because
// of the test's LD_LIBRARY_PATH, and made-up backends beside it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cuda_library.h"

namespace ponder::kernels {
namespace {

using ::testing::HasSubstr;

std::string backend(const std::string& name) {
  return std::string(FAKE_BACKENDS) + "/libponder_fake_" + name + ".so";
}

TEST(CudaLoading, TheDriverIsAskedForItsVersionAndDevices) {
  const CudaDriver driver = find_cuda_driver();
  EXPECT_TRUE(driver.is_present);
  EXPECT_EQ(driver.version, 12040);
  EXPECT_EQ(driver.num_devices, 2);
}

TEST(CudaLoading, ABackendThatFindsItsDevicesIsUsed) {
  const CudaLibrary library = load_cuda_library(backend("good"));
  ASSERT_NE(library.table, nullptr) << library.reason;
  EXPECT_STREQ(library.table->name, "fake");
  EXPECT_EQ(library.reason, "");
}

TEST(CudaLoading, ADriverOlderThanTheToolkitIsTheReason) {
  const CudaLibrary library = load_cuda_library(backend("old_driver"));
  EXPECT_EQ(library.table, nullptr);
  EXPECT_EQ(library.reason, "CUDA driver version is insufficient for CUDA runtime version");
}

TEST(CudaLoading, ABackendOfAnotherVersionIsNotUsed) {
  const CudaLibrary library = load_cuda_library(backend("other_version"));
  EXPECT_EQ(library.table, nullptr);
  EXPECT_THAT(library.reason, HasSubstr("libponder_fake_other_version.so: of another version"));
}

TEST(CudaLoading, AFileThatIsMissingIsNamed) {
  const CudaLibrary library = load_cuda_library(backend("missing"));
  EXPECT_EQ(library.table, nullptr);
  EXPECT_THAT(library.reason, HasSubstr("libponder_fake_missing.so"));
}

}  // namespace
}  // namespace ponder::kernels
