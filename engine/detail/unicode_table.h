#pragma once

#include <cstddef>
#include <cstdint>

/// Which of the classes that the tokenizer's split tells apart a character belongs to.
namespace ponder::engine::detail {

enum class CharClass : std::uint8_t {
  other,
  letter,       // \p{L}
  number,       // \p{N}
  mark,         // \p{M}
  punctuation,  // \p{P}
  symbol,       // \p{S}
  space,        // \s, that is White_Space
};

/// Generated: ascending range starts, each first code point * 8 + CharClass.
extern const std::uint32_t kCharClassRanges[];
extern const std::size_t kNumCharClassRanges;

/// The class of every code point: an array of 0x110000, built on the first call.
const CharClass* char_classes();

}  // namespace ponder::engine::detail
