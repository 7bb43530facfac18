#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "engine/tokenizer.h"
#include "tests/engine/support.h"

namespace {

using ponder::engine::StreamDecoder;
using ponder::engine::TokenId;
using ponder::engine::Tokenizer;

/// Aborts unless text comes back, from decode() and from the stream decoder.
void check_round_trip(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool match_added_tokens : {false, true}) {
    const auto ids = tokenizer.encode(text, match_added_tokens);
    if (tokenizer.decode(ids) != text) abort();
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.push(id);
    if (streamed + stream.finish() != text) abort();
  }
}

}  // namespace

/// Any bytes as a tokenizer.json and as a text: refused, or encoding can be undone.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto small =
      Tokenizer::parse(ponder::engine::testing::small_tokenizer_json().dump());
  if (!small) abort();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  check_round_trip(*small, input);
  const auto tokenizer = Tokenizer::parse(input);
  if (tokenizer) check_round_trip(*tokenizer, "<think>the ab 123 \xE4\xB8\xAD\xFF\n</think>");
  return 0;
}
