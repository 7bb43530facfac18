// Loading the backend: absent without harm, and where it is absent, for a reason that is said.

#include "kernels/cuda_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace ponder::kernels {
namespace {

TEST(CudaLibrary, IsLoadedExactlyWhereTheDriverFindsADevice) {
  const CudaDriver driver = find_cuda_driver();
  const bool is_built = std::strcmp(cuda_toolkit(), "none") != 0;
  const CudaLibrary library = load_cuda_library();
  EXPECT_EQ(library.table != nullptr, library.reason.empty());
  if (driver.num_devices == 0 || !is_built) {
    EXPECT_EQ(library.table, nullptr);
  }
  if (!driver.is_present && is_built) {
    EXPECT_THAT(library.reason, ::testing::HasSubstr("libcuda.so.1"));
  }
}

TEST(CudaLibrary, TheDriverIsAskedBeforeTheFileIsOpened) {
  const CudaLibrary library = load_cuda_library("/no/such/libponder_cuda.so");
  EXPECT_EQ(library.table, nullptr);
  const bool has_device = find_cuda_driver().num_devices > 0;
  EXPECT_EQ(library.reason.find("/no/such") != std::string::npos, has_device) << library.reason;
}

}  // namespace
}  // namespace ponder::kernels
