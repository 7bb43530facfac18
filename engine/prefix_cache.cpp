#include "engine/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ponder::engine {
namespace {

std::size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const std::size_t most = std::min(a.size(), b.size());
  return static_cast<std::size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

std::size_t index(PageId page) { return static_cast<std::size_t>(page); }

}  // namespace

std::span<const TokenId> PrefixCache::ByTokens::key(const std::unique_ptr<Node>& node) {
  return std::span(node->tokens).first(node->num_tokens);
}

PrefixCache::PrefixCache(PagePool& pool, PageStore* store)
    : pool_(&pool), store_(store), nodes_(pool.num_pages(), nullptr) {
  if (store_ != nullptr) root_.key = store_->root();
}

PrefixCache::~PrefixCache() {
  end_loads();
  // Level by level: a long prompt is a deep tree, too deep for destructors that call each other.
  std::vector<std::unique_ptr<Node>> dying;
  const auto take_children = [&dying](Node& node) {
    while (!node.children.empty()) {
      dying.push_back(std::move(node.children.extract(node.children.begin()).value()));
    }
  };
  take_children(root_);
  while (!dying.empty()) {
    const std::unique_ptr<Node> node = std::move(dying.back());
    dying.pop_back();
    pool_->drop(node->page);
    take_children(*node);
  }
}

PrefixCache::Match PrefixCache::match(std::span<const TokenId> tokens, BlockTable& table,
                                      LastPage last_page) {
  PONDER_ASSERT(table.pages().empty());
  last_matched_.clear();
  Match match;
  const auto take = [&](Node& node, std::size_t num_tokens) {
    pool_->share(node.page);
    table.append(node.page);
    match.num_tokens += num_tokens;
    if (!node.is_shadow) return;
    match.num_shadow += num_tokens;
    last_matched_.push_back(&node);
  };
  Node* at = &root_;
  while (true) {
    const auto rest = tokens.subspan(match.num_tokens);
    Node* next = find_full(*at, rest);
    if (next == nullptr) break;
    take(*next, kPageTokens);
    at = next;
  }
  if (last_page == LastPage::whole) return match;
  std::size_t length = 0;
  Node* partial = find_longest(*at, tokens.subspan(match.num_tokens), length);
  if (partial != nullptr) take(*partial, length);
  return match;
}

void PrefixCache::claim() {
  for (Node* node : last_matched_) node->is_shadow = false;
  last_matched_.clear();
}

PrefixCache::Node* PrefixCache::find_full(const Node& parent, std::span<const TokenId> tokens) {
  if (tokens.size() < kPageTokens) return nullptr;
  const auto found = parent.children.find(tokens.first(kPageTokens));
  return found == parent.children.end() ? nullptr : found->get();
}

void PrefixCache::store(const Node& node, PageStore::WhenBusy when_busy) {
  if (store_ == nullptr || node.num_tokens < kPageTokens) return;
  const auto copy_page = [&](std::span<std::byte> to) { return pool_->read(node.page, to); };
  store_->write(node.key, node.tokens, copy_page, when_busy);
}

void PrefixCache::spill() {
  for (const Node* node : nodes_) {
    if (node != nullptr) store(*node, PageStore::WhenBusy::wait);
  }
}

/// The child that agrees with `tokens` for longest: one of the two between which they would stand.
PrefixCache::Node* PrefixCache::find_longest(const Node& parent, std::span<const TokenId> tokens,
                                             std::size_t& length) {
  Node* best = nullptr;
  length = 0;
  auto it = parent.children.lower_bound(tokens);
  const auto consider = [&](const std::unique_ptr<Node>& child) {
    const std::size_t n = common_prefix(tokens, ByTokens::key(child));
    if (n <= length) return;
    best = child.get();
    length = n;
  };
  if (it != parent.children.end()) consider(*it);
  if (it != parent.children.begin()) consider(*std::prev(it));
  return best;
}

void PrefixCache::make_writable(BlockTable& table, std::size_t position) {
  if (table.is_writable_at(position)) return;
  const std::size_t page_idx = position / kPageTokens;
  const PageId source = table.pages()[page_idx];
  const auto copy = acquire();  // cannot be the source, which the table holds
  PONDER_ASSERT(copy.has_value());
  pool_->copy(*copy, source);
  table.replace(page_idx, *copy);
}

void PrefixCache::insert(std::span<const TokenId> tokens, BlockTable& table, bool with_partial,
                         Origin origin) {
  // The table's pages that the tree has already are a path from the root.
  std::size_t page_idx = tokens.size() / kPageTokens;
  const auto node_at = [&](std::size_t idx) { return nodes_[index(table.pages()[idx])]; };
  while (page_idx > 0 && node_at(page_idx - 1) == nullptr) --page_idx;
  Node* at = page_idx == 0 ? &root_ : node_at(page_idx - 1);
  tokens = tokens.subspan(page_idx * kPageTokens);
  for (; tokens.size() >= kPageTokens; tokens = tokens.subspan(kPageTokens), ++page_idx) {
    const PageId page = table.pages()[page_idx];
    Node* known = find_full(*at, tokens);
    if (known == nullptr) {
      known = &add(*at, tokens.first(kPageTokens), page, origin);
    } else if (known->page != page) {
      pool_->share(known->page);
      table.replace(page_idx, known->page);
    }
    at = known;
  }
  if (with_partial && !tokens.empty()) {
    add_partial(*at, tokens, table.pages()[page_idx], origin);
  }
}

PrefixCache::Node& PrefixCache::add(Node& parent, std::span<const TokenId> tokens, PageId page,
                                    Origin origin) {
  drop_covered(parent, tokens);
  pool_->keep(page);
  auto node = std::make_unique<Node>();
  node->parent = &parent;
  node->page = page;
  node->num_tokens = static_cast<std::uint32_t>(tokens.size());
  std::copy(tokens.begin(), tokens.end(), node->tokens.begin());
  node->is_shadow = origin == Origin::shadow;
  if (store_ != nullptr) node->key = PageStore::child(parent.key, tokens);
  nodes_[index(page)] = node.get();
  return **parent.children.insert(std::move(node)).first;
}

void PrefixCache::add_partial(Node& parent, std::span<const TokenId> tokens, PageId page,
                              Origin origin) {
  std::size_t length = 0;
  const Node* known = find_longest(parent, tokens, length);
  if (known == nullptr || length < tokens.size()) {
    add(parent, tokens, page, origin);
    return;
  }
  pool_->share(known->page);  // used just now
  pool_->release(known->page);
}

/// A partial page whose tokens begin the new page's has nothing left to offer. There is at most
/// one, and nothing stands between it and the new one.
void PrefixCache::drop_covered(Node& parent, std::span<const TokenId> tokens) {
  const auto after = parent.children.lower_bound(tokens);
  if (after == parent.children.begin()) return;
  const std::unique_ptr<Node>& before = *std::prev(after);
  if (common_prefix(tokens, ByTokens::key(before)) == before->num_tokens) remove(*before);
}

std::optional<PageId> PrefixCache::acquire() {
  if (pool_->num_free() == 0 && !evict_one()) return std::nullopt;
  return pool_->acquire();
}

bool PrefixCache::evict_one() {
  const auto oldest = pool_->oldest_idle();
  if (!oldest) return false;
  Node& node = *nodes_[index(*oldest)];
  store(node, PageStore::WhenBusy::leave_out);
  remove(node);
  return true;
}

void PrefixCache::remove(Node& node) {
  PONDER_ASSERT(node.children.empty());
  std::erase(last_matched_, &node);
  nodes_[index(node.page)] = nullptr;
  pool_->drop(node.page);
  Children& siblings = node.parent->children;
  siblings.erase(siblings.find(std::span<const TokenId>(node.tokens).first(node.num_tokens)));
}

void PrefixCache::clear() {
  while (evict_one()) {
  }
}

}  // namespace ponder::engine
