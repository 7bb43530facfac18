#include "engine/huge_pages.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace ponder::engine {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kChunkBytes = std::size_t{64} << 20;
constexpr std::size_t kAlignment = 64;

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

Result<HugePages> HugePages::reserve(std::size_t bytes) {
  HugePages pages;
  // Room to align. The sum may not wrap around: a small range would pass for the one asked for.
  if (__builtin_add_overflow(bytes, kHugePageBytes, &pages.mapping_bytes_)) {
    return fail(Errc::exhausted, fmt::format("cannot reserve {} bytes of memory", bytes));
  }
  void* mapping = mmap(nullptr, pages.mapping_bytes_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return fail(Errc::exhausted, fmt::format("cannot reserve {} bytes of memory", bytes));
  }
  pages.mapping_ = mapping;
  const auto address = reinterpret_cast<std::uintptr_t>(mapping);
  pages.data_ = static_cast<std::byte*>(mapping) + (round_up(address, kHugePageBytes) - address);
  pages.size_ = bytes;
  madvise(pages.data_, bytes, MADV_HUGEPAGE);  // only faster, so its result does not matter
  return pages;
}

HugePages::HugePages(HugePages&& other) noexcept { *this = std::move(other); }

HugePages& HugePages::operator=(HugePages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  return *this;
}

HugePages::~HugePages() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

Result<std::byte*> Arena::allocate(std::size_t bytes) {
  const std::size_t needed = round_up(bytes, kAlignment);
  if (chunks_.empty() || chunks_.back().size() - used_ < needed) {
    PONDER_TRY(HugePages chunk, HugePages::reserve(std::max(needed, kChunkBytes)));
    chunks_.push_back(std::move(chunk));
    used_ = 0;
  }
  std::byte* piece = chunks_.back().data() + used_;
  used_ += needed;
  bytes_ += needed;
  return piece;
}

}  // namespace ponder::engine
