// A packed BF16 matrix as products read it; kernels/packed_bf16_layout.h says what lies where.

namespace ponder::kernels {
namespace {

// A stripe's part of a section.
struct PackedPart {
  const std::uint8_t* windows;  // [blocks]
  const std::uint8_t* at;
  std::size_t blocks;
  std::size_t columns_left;
};

inline std::size_t block_bytes(std::uint8_t window) {
  return window == kPackedRaw ? kPackedRawBytes : kPackedBlockBytes;
}

// Goes through the parts of a band: sections, and the stripes in each.
class PackedBand {
 public:
  PackedBand(const MatmulArgs& args, std::size_t band) : k_(args.k) {
    const PackedBf16Shape shape(args.n, args.k);
    const auto* matrix = static_cast<const std::uint8_t*>(args.w);
    part_.windows = matrix + shape.windows_at + band * shape.band_windows;
    part_.at = matrix + reinterpret_cast<const std::uint64_t*>(matrix)[band];
    begin_section(0);
  }
  // Requires: all stripes of the section before are behind.
  void begin_section(std::size_t k) {
    const std::size_t columns = k_ - k < kPackedSection ? k_ - k : kPackedSection;
    part_.blocks = columns / kPackedColumns;
    part_.columns_left = columns % kPackedColumns;
  }
  const PackedPart& part() const { return part_; }
  // Goes on from the first section to the one that begins at k. Requires: `stripes` in each.
  void seek(std::size_t k, std::size_t stripes) {
    for (std::size_t at = 0; at < k; at += kPackedSection) {
      begin_section(at);
      for (std::size_t i = 0; i < stripes; ++i) next_stripe();
    }
    begin_section(k);
  }
  void next_stripe() {
    for (std::size_t i = 0; i < part_.blocks; ++i) part_.at += block_bytes(part_.windows[i]);
    part_.at += packed_rest_bytes(part_.columns_left);
    part_.windows += part_.blocks;
  }

 private:
  std::size_t k_;
  PackedPart part_;
};

}  // namespace
}  // namespace ponder::kernels
