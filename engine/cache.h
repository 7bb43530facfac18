#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/config.h"
#include "engine/tokenizer.h"
#include "kernels/kernel_table.h"

/// Where attention keeps what it has seen: pages of 64 tokens, and sequences as lists of pages.
namespace ponder::engine {

inline constexpr std::size_t kPageTokens = kernels::kPageSize;

/// Pages that hold so many tokens.
constexpr std::size_t pages_for(std::size_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

enum class PageId : std::uint32_t {};

/// Where things lie inside a page: for each layer a latent block [64, latent_stride] with rows
/// [c | k_rope], or as engine/fp8_latent.h has them, and on layers that own an indexer an index-key
/// block: [64, index_stride], or a page of int8 or E4M3 keys, of which each has its scale.
struct CacheLayout {
  /// With `has_drafts` the first MTP layer has its blocks too, after those of the hidden layers.
  /// IndexKeys other than floating require: index_head_dim is a power of two, 4 or more.
  CacheLayout(const ModelConfig& config, kernels::DType dtype, bool has_drafts = false,
              IndexKeys index_keys = IndexKeys::floating);

  kernels::DType dtype;  // of the latents: f32, bf16 or fp8_e4m3
  IndexKeys index_keys;
  kernels::DType key_dtype;                 // f32, bf16, or of E4M3 keys fp8_e4m3
  std::size_t latent_bytes = 0;             // of an element of the latents
  std::size_t key_bytes = 0;                // of such a key's element
  std::size_t latent_stride = 0;            // elements; fp8_e4m3: bytes
  std::size_t index_stride = 0;             // elements
  std::vector<std::size_t> latent_offsets;  // [layers], bytes from the start of a page
  std::vector<std::size_t> index_offsets;   // [layers]; kNoBlock without an indexer
  std::size_t page_bytes = 0;

  static constexpr std::size_t kNoBlock = ~std::size_t{0};
};

/// The bytes of all pages: the CPU's memory, or a device's, whose addresses the program computes
/// with but does not follow.
class PageMemory {
 public:
  virtual ~PageMemory() = default;
  virtual std::byte* data() const = 0;
  /// Whether data() may be followed.
  virtual bool is_on_host() const = 0;
  /// This and what follows is ordered with the forward passes that read and write the pages.
  virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  /// From a page to the host, and from the host to a page. False: the device has failed, and what
  /// is there now is worth nothing.
  [[nodiscard]] virtual bool read(std::span<std::byte> to, const std::byte* from) = 0;
  [[nodiscard]] virtual bool write(std::byte* to, std::span<const std::byte> from) = 0;
};

/// The pages themselves, who holds each one, and which of them wait for another use.
///
/// Sequences hold pages; the prefix tree keeps pages, which is no use in itself. A page without
/// either is free; one that is kept and that no sequence holds is idle, and may be taken away from
/// the tree when memory is wanted. Idle pages stand in the order in which their last holders let go
/// of them, so the least recently used one is known at once.
///
/// Invariant: every page is free, idle or held.
/// The address range is reserved at once; memory is used as pages are first written.
/// Thread: none; the engine's thread. Every call takes constant time.
class PagePool {
 public:
  /// As many pages as fit in `bytes_max`. Fails (exhausted) when not even one does.
  static Result<PagePool> create(CacheLayout layout, std::uint64_t bytes_max);
  /// Over memory for exactly so many pages.
  PagePool(CacheLayout layout, std::unique_ptr<PageMemory> memory, std::size_t num_pages);

  const CacheLayout& layout() const { return layout_; }
  std::size_t num_pages() const { return pages_.size(); }
  std::size_t num_free() const { return free_.size(); }
  std::size_t num_idle() const { return num_idle_; }

  /// A free page with one holder; nullopt when there is none.
  [[nodiscard]] std::optional<PageId> acquire();
  /// Adds a holder. Requires: the page is held or idle.
  void share(PageId page);
  /// Drops a holder; without the last one the page is idle if it is kept, else free. Requires: the
  /// page is held.
  void release(PageId page);
  std::uint32_t num_holders(PageId page) const { return pages_[index(page)].holders; }
  /// Whether its one holder may write to the page: nobody else reads it.
  bool is_exclusive(PageId page) const {
    return pages_[index(page)].holders == 1 && !pages_[index(page)].is_kept;
  }

  /// Keeps the page beyond its last holder. Requires: the page is held and not kept.
  void keep(PageId page);
  /// Ends keep(); an idle page becomes free. Requires: the page is kept.
  void drop(PageId page);
  /// The page that has been idle for longest.
  std::optional<PageId> oldest_idle() const;

  std::byte* data(PageId page) const { return data_ + index(page) * layout_.page_bytes; }
  bool is_on_host() const { return memory_->is_on_host(); }
  void copy(PageId to, PageId from);
  /// The whole page, as PageMemory has it. Requires: `to` and `from` have layout().page_bytes.
  [[nodiscard]] bool read(PageId page, std::span<std::byte> to) const;
  [[nodiscard]] bool write(PageId page, std::span<const std::byte> from);
  /// Takes the other pool's pages in place of its own. Requires: all pages are free, of both; the
  /// layouts are equal; the other has as many pages.
  void take_memory_of(PagePool other);

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  struct Page {
    std::uint32_t holders = 0;
    bool is_kept = false;
    std::uint32_t older = kNone;  // while idle: its neighbours in the order of use
    std::uint32_t newer = kNone;
  };

  static std::size_t index(PageId page) { return static_cast<std::size_t>(page); }
  void add_idle(PageId page);
  void remove_idle(PageId page);

  CacheLayout layout_;
  std::unique_ptr<PageMemory> memory_;
  std::byte* data_;
  std::vector<Page> pages_;
  std::vector<PageId> free_;  // a stack: the warmest page is reused first
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  std::size_t num_idle_ = 0;
};

/// One sequence's pages in order of position, and their addresses as the kernels want them.
/// Holds each of its pages, and may share any of them with other tables; one that it shares is
/// copied before it is written to (PrefixCache::make_writable). Lifetime: the pool must outlive it.
class BlockTable {
 public:
  explicit BlockTable(PagePool& pool);
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&&) = delete;
  ~BlockTable() { clear(); }

  /// Takes over one holder of the page as the next 64 positions.
  void append(PageId page);
  /// Puts an equal page, of which it takes over one holder, in the place of one of its own.
  void replace(std::size_t page_idx, PageId page);
  /// Shares the first pages of another sequence: a fork, which copies an address for each page,
  /// whatever the layers, and no rows. Of the last one a beginning may be meant.
  /// Requires: empty.
  void share_from(const BlockTable& other, std::size_t num_pages);
  /// Lets go of all pages but the first `num_pages`, the last one first.
  void truncate(std::size_t num_pages);
  void clear() { truncate(0); }

  const PagePool& pool() const { return *pool_; }
  std::span<const PageId> pages() const { return pages_; }
  std::size_t capacity() const { return pages_.size() * kPageTokens; }
  /// Whether a new row at this position goes to a page of its own, or one that is yet to be added.
  bool is_writable_at(std::size_t position) const;

  /// Where each page begins; a layer's blocks lie CacheLayout::latent_offsets and index_offsets
  /// further. Valid until the table changes.
  const void* const* addresses() const { return addresses_.data(); }
  /// The cache row of a position. Requires: position < capacity(); to write it, is_writable_at().
  std::byte* latent_row(std::size_t layer, std::size_t position) const;
  std::byte* index_row(std::size_t layer, std::size_t position) const;
  /// The index-key block that holds a position.
  std::byte* index_block(std::size_t layer, std::size_t position) const;

 private:
  PagePool* pool_;
  std::vector<PageId> pages_;
  std::vector<const void*> addresses_;  // [pages]
};

}  // namespace ponder::engine
