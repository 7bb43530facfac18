// Pairs of bf16 in plain code, for kernels that are tested where their instructions do not exist.

namespace ponder::kernels {
namespace {

// Rounds two vectors of consecutive values to nearest even.
inline void store_pairs(bf16* to, const Vec& first, const Vec& second) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    to[i] = static_cast<bf16>(round_to_upper_half(first.v[i]) >> 16);
    to[kLanes + i] = static_cast<bf16>(round_to_upper_half(second.v[i]) >> 16);
  }
}

}  // namespace
}  // namespace ponder::kernels
