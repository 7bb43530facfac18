#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "context/chat_format.h"
#include "tests/engine/support.h"

namespace ponder::runtime::test {

/// The small tokenizer of the engine's tests with the special tokens of the chat format; the end of
/// turn is id 1, as in the tiny model's config.
inline nlohmann::json chat_tokenizer_json() {
  nlohmann::json out = engine::testing::small_tokenizer_json();
  const context::ChatFormat& format = context::dsv32();
  nlohmann::json& vocab = out["model"]["vocab"];
  const auto rename = [&](const std::string& from, std::string_view to) {
    vocab[std::string(to)] = vocab[from];
    vocab.erase(from);
    for (auto& token : out["added_tokens"]) {
      if (token["content"] == from) token["content"] = to;
    }
  };
  rename("<begin>", format.bos);
  rename("<end>", format.eos);
  int next_id = 0;
  for (const auto& token : out["added_tokens"]) next_id = std::max(next_id, token["id"].get<int>());
  for (const std::string_view text : {format.user, format.assistant}) {
    nlohmann::json token = out["added_tokens"].back();
    token["id"] = ++next_id;
    token["content"] = text;
    out["added_tokens"].push_back(token);
  }
  return out;
}

}  // namespace ponder::runtime::test
