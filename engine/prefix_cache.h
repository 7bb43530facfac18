#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/page_store.h"

namespace ponder::engine {

/// Which pages hold which tokens: a tree whose nodes are pages and whose edges are their 64 tokens,
/// so that a path from the root is a prompt's beginning. Compared by content, never by hash alone.
///
/// A request that begins like an earlier one shares its pages, the one where they part included,
/// which is copied when a row is added to it. So a tool loop computes only what is new, and a new
/// turn re-uses everything up to the first changed token.
///
/// The tree keeps its pages beyond the sequences that hold them. When pages run out, the idle page
/// that was used least recently is dropped. It has no children: whoever holds a page holds all
/// before it, and lets go of the last one first. With a store, full pages go to disk then; they are
/// brought back into the tree before a request that wants them is admitted.
///
/// Invariants: every node with children is a full page; no node's tokens begin with a sibling's.
/// Thread: none; the engine's thread. Lifetime: the pool must outlive it.
/// Cost: with n siblings and one page of tokens, O(log n) to find or add it; eviction likewise.
class PrefixCache {
 public:
  /// `store` may be null; it must outlive the cache.
  explicit PrefixCache(PagePool& pool, PageStore* store = nullptr);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// What was found for a prompt.
  struct Match {
    std::size_t num_tokens = 0;
    std::size_t num_shadow = 0;  // of these, computed in idle time and not claimed before
  };

  enum class LastPage { partly, whole };
  /// Fills the empty table with shared pages for the longest known beginning of `tokens`. The last
  /// page may be one of which only the first rows are meant, unless `last_page` is `whole`.
  Match match(std::span<const TokenId> tokens, BlockTable& table,
              LastPage last_page = LastPage::partly);
  /// The latest match is going to be used: what it found no longer counts as num_shadow.
  void claim();

  /// Who computed the pages that are inserted.
  enum class Origin { request, shadow };
  /// Makes the pages of `tokens`, all of whose rows are computed, known to later requests. Pages
  /// that the tree already knows replace the table's own. A last partial page is taken when
  /// `with_partial`; its further rows must not be written any more.
  void insert(std::span<const TokenId> tokens, BlockTable& table, bool with_partial,
              Origin origin = Origin::request);

  /// Puts a copy of the table's page for this position in its place if anyone else reads that one.
  /// Requires: is_writable_at(position), or acquire() can give a page.
  void make_writable(BlockTable& table, std::size_t position);

  /// A page with one holder; evicts if it must. nullopt when every page is in use by sequences.
  [[nodiscard]] std::optional<PageId> acquire();

  /// Pages that acquire() could still give.
  std::size_t num_available() const { return pool_->num_free() + pool_->num_idle(); }
  /// Drops everything that no sequence holds.
  void clear();
  /// Asks the store to write every full page that it does not have yet.
  void spill();

  /// `later`: of a device's pages, when other loads use up the host's memory for what is on its way
  /// (PageStore::Limits); then is_loading(), and take_loaded() makes room. Or others come first.
  enum class LoadStart { nothing, begun, later };
  /// Begins to bring back those pages of `tokens` that follow on what is in memory and are on disk,
  /// using up to `num_spare` pages; `nothing` when there are none. Others may go on meanwhile;
  /// match() finds what has come. Unless `may_begin` it only says `later` in place of `begun`.
  LoadStart start_load(RequestId id, std::span<const TokenId> tokens, std::size_t num_spare,
                       bool may_begin = true);
  /// Nobody waits for this load any more: it lets go of its pages, and of those under way as they
  /// come. Nothing happens when there is no such load.
  void cancel_load(RequestId id);
  bool is_loading() const { return !loads_.empty(); }
  /// Takes what has come; returns whose loads have ended, be it early. `num_spare` as above.
  std::vector<RequestId> take_loaded(std::size_t num_spare);
  /// Waits a moment for something that take_loaded() can take. Requires: is_loading().
  void wait_for_load();
  /// Ends all loads with what has come so far; returns whose they were. Waits for the disk.
  std::vector<RequestId> end_loads();

  /// Pages are computed by somebody else from now on, and stored as that one's. Requires: there is
  /// a store, nothing is in the tree, and nothing is loading.
  void set_identity(const detail::Digest& identity);

  PagePool& pool() { return *pool_; }

 private:
  struct Node;
  struct ByTokens {
    using is_transparent = void;
    static std::span<const TokenId> key(const std::unique_ptr<Node>& node);
    static std::span<const TokenId> key(std::span<const TokenId> tokens) { return tokens; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      const auto x = key(a);
      const auto y = key(b);
      return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
    }
  };
  using Children = std::set<std::unique_ptr<Node>, ByTokens>;
  struct Node {
    Node* parent = nullptr;
    PageId page{};
    std::uint32_t num_tokens = 0;
    std::array<TokenId, kPageTokens> tokens{};
    bool is_shadow = false;  // computed in idle time and not claimed yet
    PageStore::Key key{};    // of a full page, if there is a store
    Children children;
  };

  /// A prompt whose pages are brought back. While it is under way it holds what is in memory of the
  /// prompt's pages, so that the tree keeps a place for the next one.
  struct Load {
    struct Flight {
      PageStore::ReadId read;
      PageId page;
      std::vector<std::byte> staged;  // what comes, where the host cannot write to the page
    };
    std::span<const TokenId> page_tokens(std::size_t page_idx) const {
      return std::span(tokens).subspan(page_idx * kPageTokens, kPageTokens);
    }

    RequestId id;
    std::vector<TokenId> tokens;
    BlockTable held;
    Node* at;            // of the last page in memory
    PageStore::Key key;  // of the last page that was asked for
    std::deque<Flight> flights;
    bool is_complete = false;  // nothing more will be asked for
    bool has_failed = false;   // what is still under way is of no use
  };

  static Node* find_full(const Node& parent, std::span<const TokenId> tokens);
  static Node* find_longest(const Node& parent, std::span<const TokenId> tokens,
                            std::size_t& length);
  Node& add(Node& parent, std::span<const TokenId> tokens, PageId page, Origin origin);
  void add_partial(Node& parent, std::span<const TokenId> tokens, PageId page, Origin origin);
  void drop_covered(Node& parent, std::span<const TokenId> tokens);
  void hold(Load& load, Node& node);
  void ask_for_pages(Load& load, std::size_t& num_spare);
  void take_page(Load& load, bool is_right);
  bool has_room_to_stage() const;
  bool is_next_on_disk(std::span<const TokenId> tokens) const;
  void store(const Node& node, PageStore::WhenBusy when_busy);
  bool evict_one();
  void remove(Node& node);

  PagePool* pool_;
  PageStore* store_;
  Node root_;
  std::vector<Node*> nodes_;         // [pages of the pool] the node that keeps each page
  std::vector<Node*> last_matched_;  // shadow nodes of the latest match
  std::vector<std::unique_ptr<Load>> loads_;
  std::size_t num_staged_ = 0;  // flights with `staged`
};

}  // namespace ponder::engine
