#include "engine/cache.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/assert.h"
#include "engine/fp8_latent.h"
#include "engine/huge_pages.h"
#include "kernels/index_select.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kAlignmentBytes = 64;   // a cache line
constexpr std::size_t kPageAlignment = 4096;  // of whole pages, so that each begins on one

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Bytes of an element of the cache.
std::size_t bytes_of(kernels::DType dtype) {
  switch (dtype) {
    case kernels::DType::f32:
      return 4;
    case kernels::DType::bf16:
      return 2;
    default:
      PONDER_ASSERT(dtype == kernels::DType::fp8_e4m3);
      return 1;
  }
}

class HostPages final : public PageMemory {
 public:
  explicit HostPages(HugePages memory) : memory_(std::move(memory)) {}
  std::byte* data() const override { return memory_.data(); }
  bool is_on_host() const override { return true; }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  bool read(std::span<std::byte> to, const std::byte* from) override {
    std::memcpy(to.data(), from, to.size());
    return true;
  }
  bool write(std::byte* to, std::span<const std::byte> from) override {
    std::memcpy(to, from.data(), from.size());
    return true;
  }

 private:
  HugePages memory_;
};

}  // namespace

CacheLayout::CacheLayout(const ModelConfig& config, kernels::DType dtype, bool has_drafts,
                         IndexKeys index_keys)
    : dtype(dtype),
      index_keys(index_keys),
      key_dtype(index_keys == IndexKeys::fp8   ? kernels::DType::fp8_e4m3
                : dtype == kernels::DType::f32 ? kernels::DType::f32
                                               : kernels::DType::bf16),
      latent_bytes(bytes_of(dtype)),
      key_bytes(bytes_of(key_dtype)) {
  const std::size_t rank = config.kv_lora_rank;
  const std::size_t rope_dim = config.qk_rope_head_dim;
  latent_stride = round_up(
      dtype == kernels::DType::fp8_e4m3 ? fp8_latent_layout(rank, rope_dim).bytes : rank + rope_dim,
      kAlignmentBytes / latent_bytes);
  const bool has_floating_keys = index_keys == IndexKeys::floating;
  index_stride = has_floating_keys ? round_up(config.index_head_dim, kAlignmentBytes / key_bytes)
                                   : config.index_head_dim;
  const std::size_t index_block_bytes = has_floating_keys
                                            ? kPageTokens * index_stride * key_bytes
                                            : kernels::index_page_bytes(config.index_head_dim);
  const std::size_t num_layers = config.num_hidden_layers + (has_drafts ? 1 : 0);
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    latent_offsets.push_back(page_bytes);
    page_bytes += kPageTokens * latent_stride * latent_bytes;
    if (config.layers[layer].indexer == IndexerKind::full) {
      index_offsets.push_back(page_bytes);
      page_bytes += index_block_bytes;
    } else {
      index_offsets.push_back(kNoBlock);
    }
  }
  page_bytes = round_up(page_bytes, kPageAlignment);
}

Result<PagePool> PagePool::create(CacheLayout layout, std::uint64_t bytes_max) {
  const std::uint64_t num_pages = bytes_max / layout.page_bytes;
  if (num_pages == 0) {
    return fail(Errc::exhausted, fmt::format("cache: one page needs {} bytes, the limit is {}",
                                             layout.page_bytes, bytes_max));
  }
  auto memory = HugePages::reserve(num_pages * layout.page_bytes);
  if (!memory) return fail_in("cache", memory.error());
  return PagePool(std::move(layout), std::make_unique<HostPages>(std::move(*memory)), num_pages);
}

PagePool::PagePool(CacheLayout layout, std::unique_ptr<PageMemory> memory, std::size_t num_pages)
    : layout_(std::move(layout)),
      memory_(std::move(memory)),
      data_(memory_->data()),
      pages_(num_pages) {
  for (std::size_t i = num_pages; i-- > 0;) free_.push_back(PageId{static_cast<std::uint32_t>(i)});
}

void PagePool::copy(PageId to, PageId from) {
  memory_->copy(data(to), data(from), layout_.page_bytes);
}

bool PagePool::read(PageId page, std::span<std::byte> to) const {
  PONDER_ASSERT(to.size() == layout_.page_bytes);
  return memory_->read(to, data(page));
}

bool PagePool::write(PageId page, std::span<const std::byte> from) {
  PONDER_ASSERT(from.size() == layout_.page_bytes);
  return memory_->write(data(page), from);
}

void PagePool::take_memory_of(PagePool other) {
  PONDER_ASSERT(free_.size() == pages_.size() && other.num_free() == num_pages());
  PONDER_ASSERT(other.layout_.page_bytes == layout_.page_bytes);
  memory_ = std::move(other.memory_);
  data_ = memory_->data();
}

std::optional<PageId> PagePool::acquire() {
  if (free_.empty()) return std::nullopt;
  const PageId page = free_.back();
  free_.pop_back();
  pages_[index(page)].holders = 1;
  return page;
}

void PagePool::share(PageId page) {
  Page& p = pages_[index(page)];
  PONDER_ASSERT(p.holders > 0 || p.is_kept);
  if (p.holders == 0) remove_idle(page);
  ++p.holders;
}

void PagePool::release(PageId page) {
  Page& p = pages_[index(page)];
  PONDER_ASSERT(p.holders > 0);
  if (--p.holders > 0) return;
  if (p.is_kept) {
    add_idle(page);
  } else {
    free_.push_back(page);
  }
}

void PagePool::keep(PageId page) {
  Page& p = pages_[index(page)];
  PONDER_ASSERT(p.holders > 0 && !p.is_kept);
  p.is_kept = true;
}

void PagePool::drop(PageId page) {
  Page& p = pages_[index(page)];
  PONDER_ASSERT(p.is_kept);
  p.is_kept = false;
  if (p.holders > 0) return;
  remove_idle(page);
  free_.push_back(page);
}

std::optional<PageId> PagePool::oldest_idle() const {
  return oldest_ == kNone ? std::nullopt : std::optional(PageId{oldest_});
}

void PagePool::add_idle(PageId page) {
  const auto i = static_cast<std::uint32_t>(page);
  pages_[i].older = newest_;
  pages_[i].newer = kNone;
  (newest_ == kNone ? oldest_ : pages_[newest_].newer) = i;
  newest_ = i;
  ++num_idle_;
}

void PagePool::remove_idle(PageId page) {
  const Page& p = pages_[index(page)];
  (p.older == kNone ? oldest_ : pages_[p.older].newer) = p.newer;
  (p.newer == kNone ? newest_ : pages_[p.newer].older) = p.older;
  --num_idle_;
}

BlockTable::BlockTable(PagePool& pool) : pool_(&pool) {}

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_),
      pages_(std::exchange(other.pages_, {})),
      addresses_(std::exchange(other.addresses_, {})) {}

void BlockTable::append(PageId page) {
  pages_.push_back(page);
  addresses_.push_back(pool_->data(page));
}

void BlockTable::replace(std::size_t page_idx, PageId page) {
  pool_->release(pages_[page_idx]);
  pages_[page_idx] = page;
  addresses_[page_idx] = pool_->data(page);
}

bool BlockTable::is_writable_at(std::size_t position) const {
  return position >= capacity() || pool_->is_exclusive(pages_[position / kPageTokens]);
}

void BlockTable::share_from(const BlockTable& other, std::size_t num_pages) {
  PONDER_ASSERT(pages_.empty() && num_pages <= other.pages_.size());
  const auto n = static_cast<std::ptrdiff_t>(num_pages);
  pages_.assign(other.pages_.begin(), other.pages_.begin() + n);
  addresses_.assign(other.addresses_.begin(), other.addresses_.begin() + n);
  for (const PageId page : pages_) pool_->share(page);
}

/// Later pages first: so an idle page of the prefix tree is never older than those below it.
void BlockTable::truncate(std::size_t num_pages) {
  if (num_pages >= pages_.size()) return;
  while (pages_.size() > num_pages) {
    pool_->release(pages_.back());
    pages_.pop_back();
  }
  addresses_.resize(num_pages);
}

std::byte* BlockTable::latent_row(std::size_t layer, std::size_t position) const {
  const CacheLayout& layout = pool_->layout();
  return pool_->data(pages_[position / kPageTokens]) + layout.latent_offsets[layer] +
         position % kPageTokens * layout.latent_stride * layout.latent_bytes;
}

std::byte* BlockTable::index_row(std::size_t layer, std::size_t position) const {
  const CacheLayout& layout = pool_->layout();
  return index_block(layer, position) +
         position % kPageTokens * layout.index_stride * layout.key_bytes;
}

std::byte* BlockTable::index_block(std::size_t layer, std::size_t position) const {
  return pool_->data(pages_[position / kPageTokens]) + pool_->layout().index_offsets[layer];
}

}  // namespace ponder::engine
