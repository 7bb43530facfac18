#include "context/json.h"

#include <array>
#include <charconv>
#include <cmath>

#include "base/assert.h"
#include "context/detail/text_scan.h"

namespace ponder::context {

// Out of line because g++ 12 warns falsely (maybe-uninitialized) where it inlines them.
Json::Json() = default;
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;
bool Json::operator==(const Json& other) const = default;

const Json* Json::find(std::string_view key) const {
  const Object* object = as_object();
  if (object == nullptr) return nullptr;
  for (const Member& member : *object) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

void Json::set(std::string_view key, Json value) {
  Object* object = as_object();
  PONDER_ASSERT(object != nullptr);
  for (Member& member : *object) {
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  }
  object->emplace_back(std::string(key), std::move(value));
}

bool Json::is_truthy() const {
  if (is_null()) return false;
  if (const bool* value = as_bool()) return *value;
  if (const double* value = as_double()) return *value != 0.0;
  if (const JsonInteger* value = as_integer()) return value->digits != "0";
  if (const std::string* value = as_string()) return !value->empty();
  if (const Array* value = as_array()) return !value->empty();
  return !as_object()->empty();
}

namespace {

/// Appends the escape of a byte that cannot stand in a JSON string as it is.
void append_escaped(std::string& out, char c) {
  constexpr char kHex[] = "0123456789abcdef";
  constexpr std::array<char, 256> kNames = [] {
    std::array<char, 256> names{};
    for (const auto& [byte, name] :
         {std::pair('"', '"'), std::pair('\\', '\\'), std::pair('\n', 'n'), std::pair('\r', 'r'),
          std::pair('\t', 't'), std::pair('\b', 'b'), std::pair('\f', 'f')}) {
      names[static_cast<unsigned char>(byte)] = name;
    }
    return names;
  }();
  const auto byte = static_cast<unsigned char>(c);
  out += '\\';
  if (kNames[byte] != 0) {
    out += kNames[byte];
    return;
  }
  out += "u00";
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

/// Python's repr of a finite double, from its shortest digits d.ddd and decimal exponent.
void append_shortest(std::string& out, std::string_view digits, int exponent) {
  const int num_digits = static_cast<int>(digits.size());
  if (exponent >= -4 && exponent < 16) {
    if (exponent < 0) {
      out += "0.";
      out.append(static_cast<std::size_t>(-exponent - 1), '0');
      out += digits;
    } else if (num_digits <= exponent + 1) {
      out += digits;
      out.append(static_cast<std::size_t>(exponent + 1 - num_digits), '0');
      out += ".0";
    } else {
      const std::size_t num_whole = static_cast<std::size_t>(exponent) + 1;
      out += digits.substr(0, num_whole);
      out += '.';
      out += digits.substr(num_whole);
    }
    return;
  }
  out += digits.substr(0, 1);
  if (num_digits > 1) {
    out += '.';
    out += digits.substr(1);
  }
  out += exponent < 0 ? "e-" : "e+";
  const std::string magnitude = std::to_string(exponent < 0 ? -exponent : exponent);
  if (magnitude.size() < 2) out += '0';
  out += magnitude;
}

void append_double(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::signbit(value)) {
    out += '-';
    value = -value;
  }
  if (std::isinf(value)) {
    out += "Infinity";
    return;
  }
  std::array<char, 64> buffer;
  const auto end =
      std::to_chars(buffer.begin(), buffer.end(), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t e = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c != '.') digits += c;
  }
  const char* exponent_begin = text.data() + e + 1;
  if (*exponent_begin == '+') ++exponent_begin;
  int exponent = 0;
  std::from_chars(exponent_begin, end, exponent);
  append_shortest(out, digits, exponent);
}

void append_json(std::string& out, const Json& value) {
  if (const std::string* text = value.as_string()) {
    append_quoted_json(out, *text);
  } else if (value.is_null()) {
    out += "null";
  } else if (const bool* boolean = value.as_bool()) {
    out += *boolean ? "true" : "false";
  } else if (const JsonInteger* integer = value.as_integer()) {
    out += integer->digits;
  } else if (const double* number = value.as_double()) {
    append_double(out, *number);
  } else if (const Json::Array* array = value.as_array()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ", ";
      append_json(out, (*array)[i]);
    }
    out += ']';
  } else {
    const Json::Object& object = *value.as_object();
    out += '{';
    for (std::size_t i = 0; i < object.size(); ++i) {
      if (i > 0) out += ", ";
      append_quoted_json(out, object[i].first);
      out += ": ";
      append_json(out, object[i].second);
    }
    out += '}';
  }
}

}  // namespace

std::string print_json(const Json& value) {
  std::string out;
  append_json(out, value);
  return out;
}

void append_quoted_json(std::string& out, std::string_view text) {
  out += '"';
  std::size_t done = 0;
  for (;;) {
    const std::size_t end = detail::find_to_escape(text, done);
    out += text.substr(done, end - done);
    if (end == text.size()) break;
    append_escaped(out, text[end]);
    done = end + 1;
  }
  out += '"';
}

std::string quote_json(std::string_view text) {
  std::string out;
  append_quoted_json(out, text);
  return out;
}

}  // namespace ponder::context
