#include "runtime/session/json_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/text.h"

namespace ponder::runtime {
namespace {

/// Cannot stand in a JSON string as it is.
bool is_special(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

/// What stands for a special character.
std::string escape(char c) {
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  const std::size_t place = kShort.find(c);
  if (place != std::string_view::npos) return {'\\', kLetters[place]};
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return {'\\', 'u', '0', '0', kHex[byte / 16], kHex[byte % 16]};
}

std::string dump(const nlohmann::json& tree) {
  return tree.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void JsonObject::begin(std::string_view name) {
  if (!is_empty_) *out_ += ',';
  is_empty_ = false;
  out_->append(1, '"').append(name).append("\":");
}

void JsonObject::write(std::string_view text) {
  if (!is_utf8(text)) {
    *out_ += dump(text);  // which replaces what is not
    return;
  }
  *out_ += '"';
  for (auto rest = text.begin();;) {
    const auto special = std::find_if(rest, text.end(), is_special);
    out_->append(rest, special);
    if (special == text.end()) break;
    *out_ += escape(*special);
    rest = special + 1;
  }
  *out_ += '"';
}

void JsonObject::write(double value) {
  // Mostly it is a time that nobody took.
  if (value == 0) {
    *out_ += "0.0";
  } else {
    *out_ += dump(value);
  }
}

void JsonObject::write(const nlohmann::json& tree) { *out_ += dump(tree); }

}  // namespace ponder::runtime
