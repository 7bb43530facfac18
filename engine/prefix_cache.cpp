#include "engine/prefix_cache.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace ponder::engine {
namespace {

std::size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const std::size_t most = std::min(a.size(), b.size());
  return static_cast<std::size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
      a.begin());
}

}  // namespace

PrefixCache::PrefixCache(PagePool& pool) : pool_(&pool) {}

PrefixCache::~PrefixCache() {
  for_each(root_, [this](Node& node) { pool_->release(node.page); });
}

/// All nodes but the root, children before parents.
template <class Visit>
void PrefixCache::for_each(const Node& node, Visit visit) {
  for (const auto& child : node.children) {
    for_each(*child, visit);
    visit(*child);
  }
}

std::size_t PrefixCache::match(std::span<const TokenId> tokens, BlockTable& table) {
  PONDER_ASSERT(table.pages().empty());
  ++clock_;
  Node* at = &root_;
  std::size_t num_matched = 0;
  while (Node* next = find_full(*at, tokens.subspan(num_matched))) {
    next->last_used = clock_;
    pool_->share(next->page);
    table.append(next->page);
    num_matched += kPageTokens;
    at = next;
  }
  return num_matched + copy_partial(*at, tokens.subspan(num_matched), table);
}

PrefixCache::Node* PrefixCache::find_full(Node& parent, std::span<const TokenId> tokens) {
  if (tokens.size() < kPageTokens) return nullptr;
  for (const auto& child : parent.children) {
    if (child->num_tokens == kPageTokens &&
        std::equal(child->tokens.begin(), child->tokens.end(), tokens.begin())) {
      return child.get();
    }
  }
  return nullptr;
}

std::size_t PrefixCache::copy_partial(Node& parent, std::span<const TokenId> tokens,
                                      BlockTable& table) {
  Node* best = nullptr;
  std::size_t best_length = 0;
  for (const auto& child : parent.children) {
    const std::size_t length =
        common_prefix(tokens, std::span(child->tokens).first(child->num_tokens));
    if (length > best_length) {
      best = child.get();
      best_length = length;
    }
  }
  if (best == nullptr) return 0;
  best->last_used = clock_;
  const PageId source = best->page;
  pool_->share(source);  // so that acquire() does not evict it
  const auto copy = acquire();
  if (copy) {
    std::memcpy(pool_->data(*copy), pool_->data(source), pool_->layout().page_bytes);
    table.append(*copy);
  }
  pool_->release(source);
  return copy ? best_length : 0;
}

void PrefixCache::insert(std::span<const TokenId> tokens, BlockTable& table, bool with_partial) {
  ++clock_;
  Node* at = &root_;
  std::size_t page_idx = 0;
  for (; tokens.size() >= kPageTokens; tokens = tokens.subspan(kPageTokens), ++page_idx) {
    const PageId page = table.pages()[page_idx];
    Node* known = find_full(*at, tokens);
    if (known == nullptr) {
      known = &add(*at, tokens.first(kPageTokens), page);
    } else if (known->page != page) {
      pool_->share(known->page);
      table.replace(page_idx, known->page);
    }
    known->last_used = clock_;
    at = known;
  }
  if (with_partial && !tokens.empty()) add_partial(*at, tokens, table.pages()[page_idx]);
}

PrefixCache::Node& PrefixCache::add(Node& parent, std::span<const TokenId> tokens, PageId page) {
  drop_covered(parent, tokens);
  pool_->share(page);
  auto node = std::make_unique<Node>();
  node->parent = &parent;
  node->page = page;
  node->num_tokens = static_cast<std::uint32_t>(tokens.size());
  std::copy(tokens.begin(), tokens.end(), node->tokens.begin());
  node->last_used = clock_;
  return *parent.children.emplace_back(std::move(node));
}

void PrefixCache::add_partial(Node& parent, std::span<const TokenId> tokens, PageId page) {
  for (const auto& child : parent.children) {
    const auto known = std::span<const TokenId>(child->tokens).first(child->num_tokens);
    if (common_prefix(tokens, known) == tokens.size()) {
      child->last_used = clock_;
      return;
    }
  }
  add(parent, tokens, page);
}

/// A partial page whose tokens begin the new page's has nothing left to offer.
void PrefixCache::drop_covered(Node& parent, std::span<const TokenId> tokens) {
  for (std::size_t i = parent.children.size(); i-- > 0;) {
    Node& child = *parent.children[i];
    if (child.num_tokens < tokens.size() &&
        common_prefix(tokens, child.tokens) >= child.num_tokens) {
      remove(child);
    }
  }
}

std::optional<PageId> PrefixCache::acquire() {
  if (pool_->num_free() == 0 && !evict_one()) return std::nullopt;
  return pool_->acquire();
}

bool PrefixCache::evict_one() {
  Node* oldest = nullptr;
  for_each(root_, [&](Node& node) {
    if (!node.children.empty() || pool_->num_holders(node.page) > 1) return;
    if (oldest == nullptr || node.last_used < oldest->last_used) oldest = &node;
  });
  if (oldest == nullptr) return false;
  remove(*oldest);
  return true;
}

void PrefixCache::remove(Node& node) {
  PONDER_ASSERT(node.children.empty());
  pool_->release(node.page);
  auto& siblings = node.parent->children;
  const auto it = std::find_if(siblings.begin(), siblings.end(),
                               [&](const auto& child) { return child.get() == &node; });
  siblings.erase(it);
}

std::size_t PrefixCache::num_available() const {
  std::size_t num = pool_->num_free();
  for_each(root_, [&](const Node& node) { num += pool_->num_holders(node.page) == 1 ? 1 : 0; });
  return num;
}

void PrefixCache::clear() {
  while (evict_one()) {
  }
}

}  // namespace ponder::engine
