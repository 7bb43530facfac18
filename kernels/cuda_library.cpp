#include "kernels/cuda_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>

#ifndef PONDER_CUDA_TOOLKIT
#define PONDER_CUDA_TOOLKIT "none"
#endif

namespace ponder::kernels {
namespace {

constexpr const char* kLibraryName = "libponder_cuda.so";

std::string beside_the_program() {
  std::array<char, 4096> path{};
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) return kLibraryName;
  const std::string program(path.data(), static_cast<std::size_t>(n));
  return program.substr(0, program.rfind('/') + 1) + kLibraryName;
}

std::string library_path(const std::string& given) {
  if (!given.empty()) return given;
  std::string path = beside_the_program();
#ifdef PONDER_CUDA_LIBRARY
  if (access(path.c_str(), R_OK) != 0) path = PONDER_CUDA_LIBRARY;
#endif
  return path;
}

CudaLibrary none(std::string reason) { return {nullptr, std::move(reason)}; }

CudaLibrary open_library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return none(dlerror());
  const auto table_of = reinterpret_cast<DeviceTableFunction>(dlsym(library, kDeviceTableSymbol));
  const DeviceTable* table = table_of == nullptr ? nullptr : table_of();
  if (table == nullptr || table->version != kDeviceTableVersion) {
    dlclose(library);
    return none(path + ": of another version");
  }
  int count = 0;
  const int error = table->num_devices(&count);
  if (error == 0 && count > 0) return {table, ""};
  // A driver that is older than the library's runtime is reported here.
  std::string reason = error == 0 ? "no device" : table->error_text(error);
  dlclose(library);
  return none(std::move(reason));
}

}  // namespace

CudaDriver find_cuda_driver() {
  CudaDriver found;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return found;
  found.is_present = true;
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto version = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  if (version != nullptr && version(&found.version) != 0) found.version = 0;
  if (init == nullptr || count == nullptr || init(0) != 0 || count(&found.num_devices) != 0) {
    found.num_devices = 0;
  }
  dlclose(driver);
  return found;
}

CudaLibrary load_cuda_library(const std::string& path) {
  if (path.empty() && std::string(cuda_toolkit()) == "none") {
    return none("this program was built without the CUDA toolkit");
  }
  const CudaDriver driver = find_cuda_driver();
  if (!driver.is_present) return none("no driver: libcuda.so.1 is not installed");
  if (driver.num_devices == 0) return none("the driver finds no device");
  return open_library(library_path(path));
}

const char* cuda_toolkit() noexcept { return PONDER_CUDA_TOOLKIT; }

}  // namespace ponder::kernels
