#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace ponder::engine::detail {

/// The merges of a byte-level BPE: which two neighbouring tokens become which token, and how early.
///
/// Thread: immutable once filled.
class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  struct Merge {
    std::uint32_t rank = kNoRank;
    TokenId merged = 0;
  };

  explicit MergeTable(std::size_t num_merges);
  /// False if the pair has a merge already.
  bool add(TokenId left, TokenId right, Merge merge);
  /// rank == kNoRank when the pair does not merge.
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    std::uint64_t pair = 0;
    Merge merge;  // kNoRank: the slot is free
  };
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
};

/// Applies merges to pieces, lowest rank first, leftmost first among equals. Keeps its buffers from
/// piece to piece. Thread: one.
class BpeEncoder {
 public:
  BpeEncoder(const std::array<TokenId, 256>& byte_tokens, const MergeTable& merges)
      : byte_tokens_(byte_tokens), merges_(merges) {}
  /// Appends the tokens of a piece.
  void encode(std::string_view piece, std::vector<TokenId>& out);

 private:
  struct Symbol {
    TokenId id;
    std::uint32_t rank;  // of the merge with the next symbol
    TokenId merged;      // what that merge gives
    std::uint32_t prev;
    std::uint32_t next;  // index of the symbol that follows; symbols_.size() at the end
    bool is_alive;
  };
  void start(std::string_view piece);
  void look_up_merge(std::uint32_t at);
  void merge_with_next(std::uint32_t at);
  void merge_by_scan();
  void merge_by_heap();
  void push(std::uint32_t at);

  const std::array<TokenId, 256>& byte_tokens_;
  const MergeTable& merges_;
  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> heap_;  // rank << 32 | symbol index, smallest on top; may be stale
};

}  // namespace ponder::engine::detail
