// Latents of a cache in FP8 (Fp8LatentLayout), decoded a vector at a time. Exact: a scale is a power
// of two.

namespace ponder::kernels {
namespace {

static_assert(kFp8LatentGroup % kLanes == 0);

// Calls visit(i, values) for each vector of the row's kv_lora_rank values; the last one may reach
// past them, with zeros.
template <class Visit>
inline void decode_fp8_latents(const AttentionArgs& args, const char* row, Visit visit) {
  const auto* codes = reinterpret_cast<const fp8_e4m3*>(row);
  for (std::size_t group = 0; group < args.kv_lora_rank; group += kFp8LatentGroup) {
    float scale;
    __builtin_memcpy(&scale, row + args.fp8.scales_at + group / kFp8LatentGroup * sizeof scale,
                     sizeof scale);
    const Vec factor = broadcast(scale * kFp8Factor);
    const std::size_t rest = args.kv_lora_rank - group;
    const std::size_t end = group + (rest < kFp8LatentGroup ? rest : kFp8LatentGroup);
    std::size_t i = group;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      const Pair values = load_pair(codes + i);
      visit(i, mul(values.first, factor));
      visit(i + kLanes, mul(values.second, factor));
    }
    for (; i + kLanes <= end; i += kLanes) visit(i, mul(load(codes + i), factor));
    if (i < end) visit(i, mul(load_some(codes + i, end - i), factor));
  }
}

}  // namespace
}  // namespace ponder::kernels
