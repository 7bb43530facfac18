#pragma once

#include <cstddef>
#include <memory>

#include "engine/device_memory.h"

namespace ponder::engine::bench {

/// cuBLAS where it is installed: the product that the device's own maker thinks fastest, as a
/// ceiling. It is opened at run time (libcublas.so.13, .12), so that nothing depends on it.
class Cublas {
 public:
  /// Null where the library, or the device's stream, cannot be had.
  static std::unique_ptr<Cublas> open(const OpenDevice& device);
  ~Cublas();
  Cublas(const Cublas&) = delete;

  /// y [n, n] = x @ w^T in bf16, sums in fp32, launched on the device's stream.
  bool multiply(kernels::bf16* y, const kernels::bf16* x, const kernels::bf16* w, int n);

 private:
  struct Functions;
  explicit Cublas(std::unique_ptr<Functions> functions);
  std::unique_ptr<Functions> functions_;
};

}  // namespace ponder::engine::bench
