#include "engine/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/detail/utf8.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string& deepseek_json() {
  static const std::string text =
      testing::read_gzip("tests/engine/data/deepseek_v32/tokenizer.json.gz");
  return text;
}

const Tokenizer& deepseek() {
  static const Tokenizer tokenizer = [] {
    auto loaded = Tokenizer::parse(deepseek_json());
    if (!loaded) throw std::runtime_error(loaded.error().message);
    return std::move(*loaded);
  }();
  return tokenizer;
}

Tokenizer small() {
  auto tokenizer = Tokenizer::parse(testing::small_tokenizer_json().dump());
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

std::string random_bytes(std::mt19937_64& rng, std::size_t length_max) {
  std::string bytes(rng() % (length_max + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng());
  return bytes;
}

TEST(Tokenizer, EncodesThePublishedExampleToThePublishedIds) {
  const std::string text =
      "<｜begin▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>Hello! I am DeepSeek."
      "<｜end▁of▁sentence｜><｜User｜>1+1=?<｜Assistant｜><think>";
  const auto ids = deepseek().encode(text, true);
  EXPECT_THAT(ids, ElementsAre(0, 128803, 33310, 128804, 128799, 19923, 3, 342, 1030, 22651, 4374,
                               1465, 16, 1, 128803, 19, 13, 19, 127252, 128804, 128798));
  EXPECT_EQ(deepseek().decode(ids), text);
}

TEST(Tokenizer, EncodesMarkupToTheKnownIds) {
  EXPECT_THAT(deepseek().encode("<｜DSML｜function_calls>", true),
              ElementsAre(30, 28217, 10525, 7398, 28217, 8701, 4941, 12548, 32));
  EXPECT_THAT(deepseek().encode(">\n", true), ElementsAre(1018));
  EXPECT_THAT(deepseek().encode("\n\n", true), ElementsAre(271));
  EXPECT_THAT(deepseek().encode(">\n\n", true), ElementsAre(4697));
}

TEST(Tokenizer, TextFromOutsideNeverBecomesAControlToken) {
  const std::string text = "a <|EOT|> b</think><｜end▁of▁sentence｜>";
  for (const TokenId id : deepseek().encode(text, false)) EXPECT_FALSE(deepseek().is_added(id));
  EXPECT_EQ(deepseek().decode(deepseek().encode(text, false)), text);
  EXPECT_EQ(deepseek().encode(text, true).back(), 1U);
}

struct KnownIds {
  std::string text;
  std::vector<TokenId> ids;
};

/// Text on which splits and merges are easily got wrong, with the ids that the Hugging Face
/// implementation gives for it.
const std::vector<KnownIds>& known_ids() {
  static const std::vector<KnownIds> known = {
      {"한국어 텍스트", {5634, 17564, 9227, 61291, 238, 45652}},
      {"\u1112\u1161\u11ab\u1100\u1173\u11af",
       {91669, 243, 160, 230, 97, 77738, 107, 91669, 225, 160, 230, 114, 77738, 110}},
      {"上海カーペット、東京", {7241, 15961, 10230, 251, 25289, 410, 66771}},
      {"👩\u200d💻👍🏽🏳\ufe0f\u200d🌈",
       {25730, 105, 46088, 23903, 122, 92526, 40965, 124, 40965, 114, 10759, 46088, 110659}},
      {"🇩🇪🇫🇷", {43754, 105, 43754, 106, 43754, 107, 43754, 118}},
      {"e\u0301te\u0301", {71, 17793, 592, 17793}},
      {"1234567 3.14159 ½Ⅷ٣",
       {6895, 18009, 25, 223, 21, 16, 9926, 3318, 223, 23951, 23603, 103, 127056}},
      {"a  b   \n\n  c   ", {67, 223, 291, 92687, 223, 274, 361}},
      {"tab\t\tend \r\n", {14278, 200, 55655, 223, 204, 201}},
      {"don't I'LL !!!\n\n", {20385, 1664, 342, 9, 3699, 4050, 30584}},
      {"x=foo_bar(); // no", {90, 31, 40897, 100869, 12184, 1915, 1119}},
      {"नमस्ते ภาษาไทย עברית", {9094, 12524, 70223, 6011, 223, 100663, 39311, 6166, 15773, 8170}},
      {"\u00a0\u3000x\u2028y", {2162, 18524, 90, 300, 104, 91}},
      {"<think>a</think>\n", {128798, 67, 128799, 201}},
  };
  return known;
}

TEST(Tokenizer, EncodesScriptsEmojiDigitsAndBlanksToTheKnownIds) {
  for (const KnownIds& known : known_ids()) {
    EXPECT_EQ(deepseek().encode(known.text, true), known.ids) << known.text;
    EXPECT_EQ(deepseek().decode(known.ids), known.text);
  }
}

TEST(Tokenizer, AMillionCharactersWithoutASpaceAreOnePieceThatStillEncodes) {
  constexpr std::size_t kLength = 1'000'000;
  std::mt19937_64 rng(testing::test_seed());
  std::string letters(kLength, 'a');
  for (char& c : letters) c = static_cast<char>('a' + rng() % 26);
  std::string kanji;
  for (std::size_t i = 0; i < kLength; ++i) kanji += i % 2 == 0 ? "中" : "文";
  // One of these with a merge loop that looks at the whole piece each time would take hours.
  for (const std::string& text :
       {std::string(kLength, 'a'), letters, kanji, std::string(kLength, '!'),
        std::string(kLength, ' '), std::string(kLength, '\xFF')}) {
    const std::vector<TokenId> ids = deepseek().encode(text, false);
    EXPECT_LT(ids.size(), text.size() + 1);
    EXPECT_EQ(deepseek().decode(ids), text);
  }
}

TEST(Tokenizer, KnowsItsAddedTokens) {
  EXPECT_EQ(deepseek().vocab_size(), 128815U);
  EXPECT_EQ(deepseek().added_token("<think>"), 128798U);
  EXPECT_EQ(deepseek().added_token("think"), std::nullopt);
  EXPECT_TRUE(deepseek().is_special(1));
  EXPECT_FALSE(deepseek().is_special(128799));
  EXPECT_TRUE(deepseek().is_added(128799));
  EXPECT_FALSE(deepseek().is_added(33310));
  EXPECT_EQ(deepseek().token_bytes(128799), "</think>");
  EXPECT_EQ(deepseek().token_bytes(33310), "hello");
  EXPECT_EQ(deepseek().token_bytes(129279), "");
  EXPECT_EQ(deepseek().decode(std::vector<TokenId>{33310, 129279, 4000000000U}), "hello");
}

TEST(Tokenizer, NamesAMissingSpecialToken) {
  const std::string_view wanted[] = {"<think>", "<｜User｜>"};
  EXPECT_TRUE(deepseek().require_added_tokens(wanted));
  EXPECT_EQ(small().require_added_tokens(wanted).error().message,
            "tokenizer has no special token <｜User｜>; use the tokenizer.json that belongs to the "
            "model");
}

TEST(Tokenizer, RoundTripsAnyBytes) {
  std::mt19937_64 rng(testing::test_seed());
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = random_bytes(rng, 40);
    for (const bool match_added : {false, true}) {
      ASSERT_EQ(deepseek().decode(deepseek().encode(bytes, match_added)), bytes) << i;
    }
  }
  EXPECT_TRUE(deepseek().encode("", true).empty());
}

TEST(Tokenizer, EveryTokenOfTheVocabularyDecodesToItsOwnBytes) {
  std::size_t num_tokens = 0;
  for (TokenId id = 0; id < deepseek().vocab_size(); ++id) {
    const std::string_view bytes = deepseek().token_bytes(id);
    num_tokens += bytes.empty() ? 0 : 1;
    ASSERT_LE(bytes.size(), 128U);
  }
  EXPECT_EQ(num_tokens, 128'815U);
}

TEST(Tokenizer, LoadsTheFullVocabularyInHalfASecond) {
  const testing::TempDir dir;
  testing::write_file(dir.path() / "tokenizer.json", deepseek_json());
  // Processor time, and the best of three: other programs may hold the machine.
  double best_s = 1e9;
  for (int i = 0; i < 3; ++i) {
    const std::clock_t start = std::clock();
    ASSERT_TRUE(Tokenizer::load(dir.path() / "tokenizer.json"));
    best_s = std::min(best_s, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
#ifdef NDEBUG
  constexpr double kLimit_s = 0.5;
#else
  constexpr double kLimit_s = 10.0;  // unoptimised, perhaps with sanitizers
#endif
  EXPECT_LT(best_s, kLimit_s);
}

/// BPE by its definition: again and again the leftmost pair of the lowest rank.
std::vector<std::string> merged_by_definition(
    std::vector<std::string> parts,
    const std::map<std::pair<std::string, std::string>, int>& ranks) {
  while (true) {
    std::size_t best = 0;
    int best_rank = static_cast<int>(ranks.size());
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto it = ranks.find({parts[i], parts[i + 1]});
      if (it == ranks.end() || it->second >= best_rank) continue;
      best = i;
      best_rank = it->second;
    }
    if (best_rank == static_cast<int>(ranks.size())) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Tokenizer, MergesLikeTheDefinitionOnShortAndLongPieces) {
  std::map<std::pair<std::string, std::string>, int> ranks;
  const json file = testing::small_tokenizer_json();
  for (const json& merge : file["model"]["merges"]) {
    const auto text = merge.get<std::string>();
    const auto space = text.find(' ');
    ranks.emplace(std::pair(text.substr(0, space), text.substr(space + 1)), ranks.size());
  }
  const Tokenizer tokenizer = small();
  std::mt19937_64 rng(testing::test_seed());
  for (int i = 0; i < 2000; ++i) {
    std::string word(1 + rng() % (i % 10 == 0 ? 400 : 40), 'a');
    for (char& c : word) c = "aaabbbthe"[rng() % 9];
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    std::vector<std::string> got;
    for (const TokenId id : tokenizer.encode(word, false))
      got.emplace_back(tokenizer.token_bytes(id));
    ASSERT_EQ(got, merged_by_definition(parts, ranks)) << word;
  }
}

TEST(Tokenizer, AddedTokensMatchLeftmostThenLongest) {
  const Tokenizer tokenizer = small();
  const TokenId think = *tokenizer.added_token("<think>");
  const TokenId thinking = *tokenizer.added_token("<thinking>");
  EXPECT_THAT(tokenizer.encode("<think><thinking></think>", true),
              ElementsAre(think, thinking, *tokenizer.added_token("</think>")));
  EXPECT_THAT(tokenizer.encode("<<think>a<end>", true), ElementsAre(3 + '<', think, 3 + 'a', 1));
}

TEST(Tokenizer, MergesWrittenAsPairsMeanTheSame) {
  json file = testing::small_tokenizer_json();
  for (json& merge : file["model"]["merges"]) {
    const auto text = merge.get<std::string>();
    const auto space = text.find(' ');
    merge = {text.substr(0, space), text.substr(space + 1)};
  }
  const auto tokenizer = Tokenizer::parse(file.dump());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abab the aab", false), small().encode("abab the aab", false));
}

TEST(Tokenizer, AcceptsAFileWithoutNormalizerAndPostProcessor) {
  json file = testing::small_tokenizer_json();
  file["normalizer"] = nullptr;
  file["post_processor"] = nullptr;
  EXPECT_TRUE(Tokenizer::parse(file.dump()));
}

struct Damage {
  const char* pointer;  // JSON pointer of what is replaced
  const char* value;    // JSON
  const char* message;
};

TEST(Tokenizer, RefusesEveryOtherPipelineByName) {
  const Damage cases[] = {
      {"/normalizer", R"({"type":"NFC"})", "normalizer is an object of 1 keys, which is not how"},
      {"/pre_tokenizer", R"({"type":"Whitespace"})", "pre_tokenizer is an object of 1 keys"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("\\p{N}")",
       R"(pre_tokenizer.pretokenizers[0] is "\\p{N}", which)"},
      {"/pre_tokenizer/pretokenizers/2/behavior", R"("Removed")",
       "pre_tokenizer.pretokenizers[2] is"},
      {"/pre_tokenizer/pretokenizers/3/use_regex", "true", "pre_tokenizer.pretokenizers[3] is"},
      {"/post_processor", R"({"type":"TemplateProcessing"})", "post_processor is"},
      {"/decoder", R"({"type":"WordPiece"})", "decoder is"},
      {"/decoder", "null", "decoder is null"},
      {"/truncation", R"({"max_length":5})", "truncation is"},
      {"/model/type", R"("Unigram")", "model.type is \"Unigram\""},
      {"/model/dropout", "0.1", "model.dropout is 0.1"},
      {"/model/unk_token", R"("<unk>")", "model.unk_token is \"<unk>\""},
      {"/model/byte_fallback", "true", "model.byte_fallback is true"},
      {"/model/ignore_merges", "true", "model.ignore_merges is true"},
      {"/added_tokens/3/lstrip", "true", "added_tokens \"<think>\" lstrip is true"},
  };
  for (const Damage& damage : cases) {
    json file = testing::small_tokenizer_json();
    file[json::json_pointer(damage.pointer)] = json::parse(damage.value);
    const auto tokenizer = Tokenizer::parse(file.dump());
    ASSERT_FALSE(tokenizer) << damage.pointer;
    EXPECT_EQ(tokenizer.error().code, Errc::invalid_argument);
    EXPECT_THAT(tokenizer.error().message, StartsWith(damage.message));
  }
}

/// A minute or more if each entry looked at all before it.
TEST(Tokenizer, ManyAddedTokensAreReadInATimeThatGrowsWithThem) {
  json file = testing::small_tokenizer_json();
  for (int i = 0; i < 200'000; ++i) {
    file["added_tokens"].push_back({{"id", 1000 + i}, {"content", "<" + std::to_string(i) + ">"}});
  }
  const std::string text = file.dump();
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::parse(text);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  EXPECT_EQ(tokenizer->added_token("<199999>"), TokenId{200'999});
}

/// The same for what does not belong there.
TEST(Tokenizer, ManyForeignMembersAndMergesAreReadInATimeThatGrowsWithThem) {
  json file = testing::small_tokenizer_json();
  for (int i = 0; i < 200'000; ++i) {
    file["of a later version " + std::to_string(i)] = json::object();
    file["model"]["merges"].push_back(json::object());
  }
  const std::string text = file.dump();
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::parse(text);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().message, "model.merges is not a list of pairs");
}

TEST(Tokenizer, RefusesADamagedVocabulary) {
  const Damage cases[] = {
      {"/model/vocab", "[]", "model.vocab is not an object"},
      {"/model/merges", "{}", "model.merges is not a list of pairs"},
      {"/model/vocab/a", "-1", "token \"a\" has id -1"},
      {"/model/vocab/a", "99999999", "token \"a\" has id 99999999"},
      {"/model/vocab/a", "[7]", "token \"a\" has id null"},
      {"/model/vocab/a", "101", "id 101 is given to two tokens"},
      {"/model/vocab/漢", "700", "token \"\\u6f22\" is neither byte-level text nor an added token"},
      {"/model/merges/0", R"("a")", "merge 0 (\"a\") is not of tokens in model.vocab"},
      {"/model/merges/0", R"("a zz")", "merge 0 (\"a zz\") is not of tokens in model.vocab"},
      {"/model/merges/0", "7", "merge 0 (7) is not of tokens"},
      {"/model/merges/1", R"("a b")", "merge 1 (\"a b\") stands twice"},
      {"/added_tokens", "7", "added_tokens is not a list"},
      {"/added_tokens/0", "7", "added token without a proper id or content: 7"},
      {"/added_tokens/0/id", "\"x\"", "added token without a proper id or content: \"<begin>\""},
      {"/added_tokens/3/content", "\"\"", "token 268 has no text"},
      {"/added_tokens/4/content", "\"<think>\"", "added token \"<think>\" stands twice"},
  };
  for (const Damage& damage : cases) {
    json file = testing::small_tokenizer_json();
    file[json::json_pointer(damage.pointer)] = json::parse(damage.value);
    const auto tokenizer = Tokenizer::parse(file.dump());
    ASSERT_FALSE(tokenizer) << damage.pointer << " " << damage.value;
    EXPECT_THAT(tokenizer.error().message, StartsWith(damage.message));
  }
  json file = testing::small_tokenizer_json();
  file["added_tokens"][3]["content"] = std::string(65'536, 'x');
  EXPECT_EQ(Tokenizer::parse(file.dump()).error().message, "token 268 has 65536 bytes");
  file = testing::small_tokenizer_json();
  file["model"]["vocab"].erase("!");
  EXPECT_EQ(Tokenizer::parse(file.dump()).error().message,
            "model.vocab has no token for byte 0x21");
}

TEST(Tokenizer, LoadingNamesTheFile) {
  const testing::TempDir dir;
  const auto path = dir.path() / "tokenizer.json";
  EXPECT_EQ(Tokenizer::load(path).error().message,
            path.string() + ": cannot open: No such file or directory");
  testing::write_file(path, R"({"model": )");
  EXPECT_EQ(Tokenizer::load(path).error().message,
            path.string() + ": damaged JSON at byte 11; download or export this file again");
  testing::write_file(path, "[]");
  EXPECT_THAT(Tokenizer::load(path).error().message, HasSubstr("model.vocab is not an object"));
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const Tokenizer tokenizer = small();
  StreamDecoder decoder(tokenizer);
  const auto push = [&](unsigned char byte) { return decoder.push(3U + byte); };
  EXPECT_EQ(push('a'), "a");
  EXPECT_EQ(push(0xE4), "");
  EXPECT_EQ(push(0xB8), "");
  EXPECT_EQ(push(0xAD), "中");
  EXPECT_EQ(push(0xF0), "");
  EXPECT_EQ(push('x'), "\xF0x");  // it can never become a character
  EXPECT_EQ(push(0xED), "");
  EXPECT_EQ(push(0xA0), "\xED\xA0");  // nor can a surrogate
  EXPECT_EQ(push(0xC3), "");
  EXPECT_EQ(decoder.finish(), "\xC3");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  for (const KnownIds& known : known_ids()) {
    StreamDecoder decoder(deepseek());
    std::string text;
    for (const TokenId id : known.ids) {
      const std::string part = decoder.push(id);
      for (std::size_t at = 0; at < part.size();) {
        const detail::Utf8Unit unit = detail::utf8_unit(part, at);
        ASSERT_NE(unit.code_point, detail::kInvalidUnit) << known.text;
        at += unit.num_bytes;
      }
      text += part;
    }
    EXPECT_EQ(text, known.text);
    EXPECT_EQ(decoder.finish(), "");
  }
}

TEST(StreamDecoder, DeliversTheSameBytesAsDecoding) {
  std::mt19937_64 rng(testing::test_seed());
  for (int i = 0; i < 500; ++i) {
    std::vector<TokenId> ids(rng() % 30);
    for (TokenId& id : ids) id = static_cast<TokenId>(rng() % deepseek().vocab_size());
    StreamDecoder decoder(deepseek());
    std::string text;
    for (const TokenId id : ids) text += decoder.push(id);
    ASSERT_EQ(text + decoder.finish(), deepseek().decode(ids));
  }
}

}  // namespace
}  // namespace ponder::engine
