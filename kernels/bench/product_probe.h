#pragma once

// What matrix products are measured against: the rate of their inner loop alone.

#include <cstddef>
#include <vector>

#include "kernels/thread_pool.h"

namespace ponder::kernels::bench {

enum class Product { f32, bf16, int8, tile_bf16, tile_int8 };

/// "fp32", "bf16", "int8", "amx bf16", "amx int8".
[[nodiscard]] const char* product_name(Product product);

/// A register block of sums (12 rows of x by two vectors of weights; in tiles two by two) whose
/// weights come from a buffer of half a second-level cache and whose x stays in the first level:
/// what a matrix product would reach if its inner loop were all of it.
class ProductProbe {
 public:
  /// Requires: is_runnable(product).
  ProductProbe(Product product, unsigned threads);
  static bool is_runnable(Product product);

  /// Operations of one run; a multiply-add counts as two.
  [[nodiscard]] double operations() const;
  /// On all threads of the pool.
  void run(ThreadPool& pool) const;

 private:
  using Loop = void (*)(const std::byte* weights, std::byte* sums) noexcept;
  Loop loop_;
  double operations_per_thread_;
  std::vector<std::byte*> weights_;  // of each thread
  std::vector<std::byte*> sums_;
};

}  // namespace ponder::kernels::bench
