#include "engine/detail/tokenizer_file.h"

#include <fmt/format.h>

#include <bitset>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <utility>

#include "engine/detail/json_input.h"
#include "engine/detail/pre_tokenizer.h"
#include "engine/detail/utf8.h"

namespace ponder::engine::detail {
namespace {

using nlohmann::json;
using VocabEntry = std::pair<std::string, json>;  // name, id

constexpr TokenId kTokenIdMax = (1U << 20) - 1;  // bounds memory; known models end below 2^18
constexpr std::size_t kTokenBytesMax = 0xFFFF;   // GrammarVocabulary's limit

/// The member, or null when there is none (or `object` is no object).
const json& member(const json& object, const char* key) {
  static const json null;
  if (!object.is_object()) return null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

tl::unexpected<Error> unsupported(const std::string& part, const json& found) {
  return fail(Errc::invalid_argument,
              fmt::format("{} is {}, which is not how DeepSeek's tokenizer works; only files with "
                          "its pipeline are supported",
                          part, brief(found)));
}

bool is_absent_or(const json& value, const json& wanted) {
  return value.is_null() || value == wanted;
}

/// One step of the pre-tokenizer: an isolated split by this regular expression.
bool is_split(const json& step, std::string_view pattern) {
  const json& regex = member(member(step, "pattern"), "Regex");
  return member(step, "type") == "Split" && regex.is_string() &&
         regex.get_ref<const std::string&>() == pattern && member(step, "behavior") == "Isolated" &&
         is_absent_or(member(step, "invert"), false);
}

bool is_byte_level(const json& step) {
  return member(step, "type") == "ByteLevel" && member(step, "add_prefix_space") == false &&
         member(step, "use_regex") == false;
}

Status check_pre_tokenizer(const json& pre_tokenizer) {
  const json& steps = member(pre_tokenizer, "pretokenizers");
  if (member(pre_tokenizer, "type") != "Sequence" || !steps.is_array() || steps.size() != 4) {
    return unsupported("pre_tokenizer", pre_tokenizer);
  }
  const std::string_view patterns[] = {kDigitPattern, kCjkPattern, kWordPattern};
  for (std::size_t i = 0; i < std::size(patterns); ++i) {
    if (!is_split(steps[i], patterns[i])) {
      const json& regex = member(member(steps[i], "pattern"), "Regex");
      return unsupported(fmt::format("pre_tokenizer.pretokenizers[{}]", i),
                         regex.is_null() ? steps[i] : regex);
    }
  }
  if (!is_byte_level(steps[3])) return unsupported("pre_tokenizer.pretokenizers[3]", steps[3]);
  return {};
}

Status check_model(const json& model) {
  if (member(model, "type") != "BPE") return unsupported("model.type", member(model, "type"));
  for (const char* key : {"dropout", "unk_token"}) {
    if (!member(model, key).is_null()) {
      return unsupported(fmt::format("model.{}", key), member(model, key));
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!is_absent_or(member(model, key), "")) {
      return unsupported(fmt::format("model.{}", key), member(model, key));
    }
  }
  for (const char* key : {"byte_fallback", "ignore_merges"}) {
    if (!is_absent_or(member(model, key), false)) {
      return unsupported(fmt::format("model.{}", key), member(model, key));
    }
  }
  return {};
}

Status check_pipeline(const json& root) {
  for (const char* key : {"truncation", "padding"}) {
    if (!member(root, key).is_null()) return unsupported(key, member(root, key));
  }
  const json& normalizer = member(root, "normalizer");
  const bool is_identity = member(normalizer, "type") == "Sequence" &&
                           member(normalizer, "normalizers") == json::array();
  if (!normalizer.is_null() && !is_identity) return unsupported("normalizer", normalizer);
  PONDER_CHECK(check_pre_tokenizer(member(root, "pre_tokenizer")));
  const json& post_processor = member(root, "post_processor");
  if (!post_processor.is_null() && member(post_processor, "type") != "ByteLevel") {
    return unsupported("post_processor", post_processor);
  }
  if (member(member(root, "decoder"), "type") != "ByteLevel") {
    return unsupported("decoder", member(root, "decoder"));
  }
  return check_model(member(root, "model"));
}

struct TokenizerJson {
  json rest;  // everything, with model.vocab and model.merges emptied
  std::vector<VocabEntry> vocab;
  std::vector<json> merges;
};

/// Takes the entries of model.vocab and model.merges out of the parser's stream: as JSON objects
/// these hundred thousands would cost ten times as much as all the rest of loading.
class BulkCollector {
 public:
  explicit BulkCollector(TokenizerJson& out) : out_(&out) {}

  /// A JsonFilter.
  bool operator()(std::size_t depth, JsonEvent event, json& item) {
    if (event == JsonEvent::key) return on_key(depth, item.get_ref<std::string&>());
    if (depth != 3 || keys_[0] != "model") return true;
    const bool is_value = event == JsonEvent::value;
    const bool is_container = event == JsonEvent::array_start || event == JsonEvent::object_start;
    if (keys_[1] == "vocab" && (is_value || is_container)) {
      out_->vocab.emplace_back(std::move(keys_[2]), is_value ? item : json());
    } else if (keys_[1] == "merges" && (is_value || event == JsonEvent::array_end)) {
      out_->merges.push_back(std::move(item));
      return false;
    }
    return true;
  }

 private:
  bool on_key(std::size_t depth, std::string& key) {
    if (depth > keys_.size()) return true;
    const bool is_token = depth == 3 && keys_[0] == "model" && keys_[1] == "vocab";
    keys_[depth - 1] = std::move(key);
    return !is_token;
  }

  TokenizerJson* out_;
  std::array<std::string, 3> keys_;  // where the parser is
};

Result<TokenizerJson> parse_tokenizer_json(std::string_view text) {
  TokenizerJson out;
  PONDER_TRY(out.rest, parse_json(text, BulkCollector(out)));
  const json& model = member(out.rest, "model");
  if (!member(model, "vocab").is_object()) {
    return fail(Errc::corrupt, "model.vocab is not an object");
  }
  if (member(model, "merges") != json::array()) {
    return fail(Errc::corrupt, "model.merges is not a list of pairs");
  }
  return out;
}

/// The byte-level alphabet: printable Latin-1 characters stand for themselves, the other bytes for
/// U+0100 and up, in order.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      bytes_[is_printable ? static_cast<char32_t>(byte) : next++] = byte;
    }
  }
  /// The bytes that a token's name stands for; nullopt if a character is not of the alphabet.
  std::optional<std::string> decode(std::string_view name) const {
    std::string bytes;
    for (std::size_t at = 0; at < name.size();) {
      const Utf8Unit unit = utf8_unit(name, at);
      if (unit.code_point >= bytes_.size() || bytes_[unit.code_point] < 0) return std::nullopt;
      bytes += static_cast<char>(bytes_[unit.code_point]);
      at += unit.num_bytes;
    }
    return bytes;
  }

 private:
  std::array<int, 0x144> bytes_{};  // by code point
};

class Builder {
 public:
  Status read_added_tokens(const json& list);
  Status read_vocab(const std::vector<VocabEntry>& vocab);
  Status read_merges(const std::vector<json>& merges);
  TokenizerFile take() { return std::move(file_); }

 private:
  Status set_bytes(TokenId id, std::string bytes, const std::string& name);
  std::optional<TokenId> id_of(std::string_view name) const {
    const auto it = ids_.find(name);
    return it == ids_.end() ? std::nullopt : std::optional(it->second);
  }

  TokenizerFile file_;
  std::unordered_map<std::string_view, TokenId> ids_;  // names of the vocabulary, inside its JSON
  std::unordered_map<std::string, TokenId> added_ids_;
};

Status Builder::set_bytes(TokenId id, std::string bytes, const std::string& name) {
  if (bytes.empty()) return fail(Errc::corrupt, fmt::format("token {} has no text", id));
  if (bytes.size() > kTokenBytesMax) {
    return fail(Errc::corrupt, fmt::format("token {} has {} bytes", id, bytes.size()));
  }
  if (id >= file_.token_bytes.size()) file_.token_bytes.resize(id + std::size_t{1});
  if (!file_.token_bytes[id].empty()) {
    return fail(Errc::corrupt,
                fmt::format("id {} is given to two tokens, one is {}", id, brief(json(name))));
  }
  file_.token_bytes[id] = std::move(bytes);
  return {};
}

std::optional<TokenId> read_id(const json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kTokenIdMax) return std::nullopt;
  return value.get<TokenId>();
}

Status Builder::read_added_tokens(const json& list) {
  if (!list.is_array()) return fail(Errc::corrupt, "added_tokens is not a list");
  for (const json& entry : list) {
    const auto id = read_id(member(entry, "id"));
    const json& content = member(entry, "content");
    if (!id || !content.is_string()) {
      return fail(Errc::corrupt, fmt::format("added token without a proper id or content: {}",
                                             entry.is_object() ? brief(content) : brief(entry)));
    }
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (!is_absent_or(member(entry, key), false)) {
        return unsupported(fmt::format("added_tokens {} {}", brief(content), key),
                           member(entry, key));
      }
    }
    const AddedToken token{*id, content.get<std::string>(), member(entry, "special") == true,
                           member(entry, "normalized") == true};
    PONDER_CHECK(set_bytes(token.id, token.text, token.text));
    if (!added_ids_.emplace(token.text, token.id).second) {
      return fail(Errc::corrupt, fmt::format("added token {} stands twice", brief(content)));
    }
    file_.added_tokens.push_back(token);
  }
  return {};
}

Status Builder::read_vocab(const std::vector<VocabEntry>& vocab) {
  const ByteAlphabet alphabet;
  std::bitset<256> has_byte;
  ids_.reserve(vocab.size());
  file_.token_bytes.reserve(vocab.size() + file_.added_tokens.size());
  for (const auto& [name, value] : vocab) {
    const auto id = read_id(value);
    if (!id) {
      return fail(Errc::corrupt,
                  fmt::format("token {} has id {}", brief(json(name)), brief(value)));
    }
    const auto added = added_ids_.find(name);
    if (added != added_ids_.end() && added->second == *id) continue;
    auto bytes = alphabet.decode(name);
    if (!bytes) {
      return fail(Errc::corrupt, fmt::format("token {} is neither byte-level text nor an added "
                                             "token",
                                             brief(json(name))));
    }
    if (bytes->size() == 1) {
      const auto byte = static_cast<unsigned char>(bytes->front());
      file_.byte_tokens[byte] = *id;
      has_byte.set(byte);
    }
    if (!ids_.emplace(name, *id).second) {
      return fail(Errc::corrupt, fmt::format("token {} stands twice", brief(json(name))));
    }
    PONDER_CHECK(set_bytes(*id, *std::move(bytes), name));
  }
  if (has_byte.all()) return {};
  int missing = 0;
  while (has_byte.test(static_cast<std::size_t>(missing))) ++missing;
  return fail(Errc::corrupt, fmt::format("model.vocab has no token for byte {:#04x}", missing));
}

/// "left right", or [left, right] as newer files write it.
std::optional<std::pair<std::string_view, std::string_view>> read_pair(const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair(std::string_view(merge[0].get_ref<const std::string&>()),
                     std::string_view(merge[1].get_ref<const std::string&>()));
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string_view text = merge.get_ref<const std::string&>();
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

Status Builder::read_merges(const std::vector<json>& merges) {
  file_.merges = MergeTable(merges.size());
  std::string merged_name;
  for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
    const auto pair = read_pair(merges[rank]);
    std::optional<TokenId> left, right, merged;
    if (pair) {
      merged_name.assign(pair->first).append(pair->second);
      left = id_of(pair->first);
      right = id_of(pair->second);
      merged = id_of(merged_name);
    }
    if (!left || !right || !merged) {
      return fail(Errc::corrupt, fmt::format("merge {} ({}) is not of tokens in model.vocab", rank,
                                             brief(merges[rank])));
    }
    if (!file_.merges.add(*left, *right, {rank, *merged})) {
      return fail(Errc::corrupt,
                  fmt::format("merge {} ({}) stands twice", rank, brief(merges[rank])));
    }
  }
  return {};
}

}  // namespace

Result<TokenizerFile> read_tokenizer_file(std::string_view text) {
  PONDER_TRY(const TokenizerJson parsed, parse_tokenizer_json(text));
  PONDER_CHECK(check_pipeline(parsed.rest));
  Builder builder;
  PONDER_CHECK(builder.read_added_tokens(member(parsed.rest, "added_tokens")));
  PONDER_CHECK(builder.read_vocab(parsed.vocab));
  PONDER_CHECK(builder.read_merges(parsed.merges));
  return builder.take();
}

}  // namespace ponder::engine::detail
