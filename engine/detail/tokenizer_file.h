#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/detail/added_tokens.h"
#include "engine/detail/bpe.h"
#include "engine/tokenizer.h"

namespace ponder::engine::detail {

/// What a tokenizer.json holds, checked and turned into bytes and ids.
struct TokenizerFile {
  std::vector<std::string> token_bytes;  // [vocab_size]; empty where no token has the id
  std::vector<AddedToken> added_tokens;
  std::array<TokenId, 256> byte_tokens{};
  MergeTable merges{0};
};

Result<TokenizerFile> read_tokenizer_file(std::string_view json);

}  // namespace ponder::engine::detail
