#include "engine/detail/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcre2.h>

#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "tests/engine/support.h"

namespace ponder::engine::detail {
namespace {

using ::testing::ElementsAre;

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> pieces;
  split_pieces(text, pieces);
  return pieces;
}

/// One isolated split by a regular expression, done by PCRE2.
class PcreSplit {
 public:
  explicit PcreSplit(std::string_view pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    if (!code_) throw std::runtime_error("pattern does not compile");
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }

  /// Matches and what lies between them, in order.
  void operator()(std::string_view text, std::vector<std::string_view>& out) const {
    std::size_t at = 0;
    while (at < text.size()) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                    text.size(), at, 0, match_.get(), nullptr);
      if (found < 0) break;
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_.get());
      if (range[0] > at) out.push_back(text.substr(at, range[0] - at));
      out.push_back(text.substr(range[0], range[1] - range[0]));
      at = range[1];
    }
    if (at < text.size()) out.push_back(text.substr(at));
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

std::vector<std::string_view> split_by_pcre(std::string_view text) {
  static const PcreSplit splits[] = {PcreSplit(kDigitPattern), PcreSplit(kCjkPattern),
                                     PcreSplit(kWordPattern)};
  std::vector<std::string_view> pieces{text};
  for (const PcreSplit& split : splits) {
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) split(piece, finer);
    pieces = std::move(finer);
  }
  return pieces;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

constexpr char32_t kMongolianVowelSeparator = 0x180E;  // a blank for PCRE2 alone

bool is_usable(char32_t c) { return (c < 0xD800 || c > 0xDFFF) && c != kMongolianVowelSeparator; }

TEST(PreTokenizer, SplitsTextAsTheExpressionsSay) {
  EXPECT_THAT(split("Hello, world's end"), ElementsAre("Hello", ",", " world", "'s", " end"));
  EXPECT_THAT(split("in 2024: 12345"), ElementsAre("in", " ", "202", "4", ":", " ", "123", "45"));
  EXPECT_THAT(split("a  b\n\n  c "), ElementsAre("a", " ", " b", "\n\n", " ", " c", " "));
  EXPECT_THAT(split("上海カー!!\nx"), ElementsAre("上海カー", "!!\n", "x"));
  EXPECT_THAT(split("\x01\x02z"), ElementsAre("\x01", "\x02z"));
  EXPECT_TRUE(split("").empty());
}

TEST(PreTokenizer, AnInvalidByteIsACharacterWithoutAClass) {
  EXPECT_THAT(split("\xFF\xFE"
                    "ab"),
              ElementsAre("\xFF",
                          "\xFE"
                          "ab"));
  EXPECT_THAT(split("a\xE4\xB8"), ElementsAre("a", "\xE4\xB8"));
}

TEST(PreTokenizer, EveryCharacterHasTheClassThatPcreGivesIt) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (!is_usable(c)) continue;
    std::string text = "a";
    append_utf8(text, c);
    append_utf8(text, c);
    text += "! ";
    append_utf8(text, c);
    text += 'b';
    ASSERT_EQ(split(text), split_by_pcre(text)) << std::hex << static_cast<std::uint32_t>(c);
  }
}

TEST(PreTokenizer, TheVowelSeparatorIsNoBlank) {
  EXPECT_THAT(split("a\u180Eb \u180E"), ElementsAre("a", "\u180Eb", " ", "\u180E"));
}

TEST(PreTokenizer, RandomStringsSplitAsPcreSplitsThem) {
  const std::u32string alphabet =
      U"aZé\u0301 \u0301\t\n\r  "
      U"\u00A0\u2028\u3000.,'|<>-_~+$€09½Ⅷ中文龥龦カー゠々한😀\u200D\u0007ßΩ";
  std::mt19937_64 rng(testing::test_seed());
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    const std::size_t length = rng() % 16;
    for (std::size_t k = 0; k < length; ++k) {
      char32_t c = alphabet[rng() % alphabet.size()];
      if (i % 8 == 0) c = static_cast<char32_t>(rng() % (i % 16 == 0 ? 0x3200 : 0x110000));
      if (is_usable(c)) append_utf8(text, c);
    }
    ASSERT_EQ(split(text), split_by_pcre(text)) << text;
  }
}

}  // namespace
}  // namespace ponder::engine::detail
