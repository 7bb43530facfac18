#include "engine/detail/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/assert.h"

namespace ponder::engine::detail {
namespace {

/// Up to this many bytes a scan over the symbols for each merge is faster than a heap.
constexpr std::size_t kScanBytesMax = 32;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

}  // namespace

MergeTable::MergeTable(std::size_t num_merges) : slots_(std::bit_ceil(2 * num_merges + 2)) {}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::uint64_t hash = pair * 0x9E3779B97F4A7C15;
  hash ^= hash >> 32;
  std::size_t slot = hash & mask;
  while (slots_[slot].merge.rank != kNoRank && slots_[slot].pair != pair) slot = (slot + 1) & mask;
  return slot;
}

bool MergeTable::add(TokenId left, TokenId right, Merge merge) {
  Slot& slot = slots_[slot_of(pair_key(left, right))];
  if (slot.merge.rank != kNoRank) return false;
  slot = {pair_key(left, right), merge};
  return true;
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const {
  return slots_[slot_of(pair_key(left, right))].merge;
}

void BpeEncoder::start(std::string_view piece) {
  PONDER_ASSERT(piece.size() < MergeTable::kNoRank);
  symbols_.resize(piece.size());
  for (std::uint32_t i = 0; i < symbols_.size(); ++i) {
    symbols_[i] = {byte_tokens_[static_cast<unsigned char>(piece[i])],
                   MergeTable::kNoRank,
                   0,
                   i - 1,
                   i + 1,
                   true};
  }
  for (std::uint32_t i = 0; i < symbols_.size(); ++i) look_up_merge(i);
}

void BpeEncoder::look_up_merge(std::uint32_t at) {
  Symbol& symbol = symbols_[at];
  const bool is_last = symbol.next == symbols_.size();
  const MergeTable::Merge merge =
      is_last ? MergeTable::Merge{} : merges_.find(symbol.id, symbols_[symbol.next].id);
  symbol.rank = merge.rank;
  symbol.merged = merge.merged;
}

void BpeEncoder::merge_with_next(std::uint32_t at) {
  Symbol& symbol = symbols_[at];
  Symbol& next = symbols_[symbol.next];
  symbol.id = symbol.merged;
  symbol.next = next.next;
  next.is_alive = false;
  if (symbol.next != symbols_.size()) symbols_[symbol.next].prev = at;
  look_up_merge(at);
  if (at != 0) look_up_merge(symbol.prev);
}

void BpeEncoder::merge_by_scan() {
  while (true) {
    std::uint32_t best = 0;
    for (std::uint32_t i = 0; i != symbols_.size(); i = symbols_[i].next) {
      if (symbols_[i].rank < symbols_[best].rank) best = i;
    }
    if (symbols_[best].rank == MergeTable::kNoRank) return;
    merge_with_next(best);
  }
}

void BpeEncoder::push(std::uint32_t at) {
  if (symbols_[at].rank == MergeTable::kNoRank) return;
  heap_.push_back(static_cast<std::uint64_t>(symbols_[at].rank) << 32 | at);
  std::ranges::push_heap(heap_, std::greater{});
}

void BpeEncoder::merge_by_heap() {
  heap_.clear();
  for (std::uint32_t i = 0; i < symbols_.size(); ++i) push(i);
  while (!heap_.empty()) {
    std::ranges::pop_heap(heap_, std::greater{});
    const auto rank = static_cast<std::uint32_t>(heap_.back() >> 32);
    const auto at = static_cast<std::uint32_t>(heap_.back());
    heap_.pop_back();
    // An entry is stale when its symbol was merged away or has another neighbour by now.
    if (!symbols_[at].is_alive || symbols_[at].rank != rank) continue;
    merge_with_next(at);
    push(at);
    if (at != 0) push(symbols_[at].prev);
  }
}

void BpeEncoder::encode(std::string_view piece, std::vector<TokenId>& out) {
  if (piece.empty()) return;
  start(piece);
  if (piece.size() <= kScanBytesMax) {
    merge_by_scan();
  } else {
    merge_by_heap();
  }
  for (std::uint32_t i = 0; i != symbols_.size(); i = symbols_[i].next) {
    out.push_back(symbols_[i].id);
  }
}

}  // namespace ponder::engine::detail
