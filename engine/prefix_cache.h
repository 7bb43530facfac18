#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/cache.h"

namespace ponder::engine {

/// Which pages hold which tokens: a tree whose nodes are pages and whose edges are their 64 tokens,
/// so that a path from the root is a prompt's beginning. Compared by content, never by hash alone.
///
/// A request that begins like an earlier one shares its full pages; of the page where they part it
/// copies the rows up to the difference. So a tool loop computes only what is new, and a new turn
/// re-uses everything up to the first changed token.
///
/// The tree holds its pages beside the sequences that use them. When pages run out, leaves that no
/// sequence holds are dropped, the least recently used first.
///
/// Invariant: every node but those without children is a full page.
/// Thread: none; the engine's thread. Lifetime: the pool must outlive it.
class PrefixCache {
 public:
  explicit PrefixCache(PagePool& pool);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// Fills the empty table with pages for the longest known beginning of `tokens` and returns its
  /// length. A partly used last page is the table's own copy, for which a page may be evicted.
  std::size_t match(std::span<const TokenId> tokens, BlockTable& table);

  /// Makes the pages of `tokens`, all of whose rows are computed, known to later requests. Pages
  /// that the tree already knows replace the table's own. A last partial page is taken when
  /// `with_partial`; its further rows must not be written any more.
  void insert(std::span<const TokenId> tokens, BlockTable& table, bool with_partial);

  /// A page with one holder; evicts if it must. nullopt when every page is in use by sequences.
  [[nodiscard]] std::optional<PageId> acquire();

  /// Pages that acquire() could still give.
  std::size_t num_available() const;
  /// Drops everything that no sequence holds.
  void clear();

 private:
  struct Node {
    Node* parent = nullptr;
    PageId page{};
    std::uint32_t num_tokens = 0;
    std::array<TokenId, kPageTokens> tokens{};
    std::uint64_t last_used = 0;
    std::vector<std::unique_ptr<Node>> children;
  };

  static Node* find_full(Node& parent, std::span<const TokenId> tokens);
  Node& add(Node& parent, std::span<const TokenId> tokens, PageId page);
  void add_partial(Node& parent, std::span<const TokenId> tokens, PageId page);
  void drop_covered(Node& parent, std::span<const TokenId> tokens);
  std::size_t copy_partial(Node& parent, std::span<const TokenId> tokens, BlockTable& table);
  bool evict_one();
  void remove(Node& node);
  template <class Visit>
  static void for_each(const Node& node, Visit visit);

  PagePool* pool_;
  Node root_;
  std::uint64_t clock_ = 0;  // counts uses
};

}  // namespace ponder::engine
