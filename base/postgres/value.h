#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Values on their way to PostgreSQL, in its binary format: no text is ever quoted, and bytes
/// arrive as they are.
namespace ponder::postgres {

using Oid = std::uint32_t;  // names a type

/// A value for a parameter; holds a copy of its bytes.
class Value {
 public:
  Value(std::string_view text);                                      // NOLINT: text
  Value(const std::string& text) : Value(std::string_view(text)) {}  // NOLINT
  Value(const char* text) : Value(std::string_view(text)) {}         // NOLINT
  template <std::integral T>
  Value(T number) : Value(int8(static_cast<std::int64_t>(number))) {}  // NOLINT: bigint

  static Value bytes(std::string_view bytes);                                // bytea
  static Value texts(const std::vector<std::string_view>& elements);         // text[]
  static Value byte_strings(const std::vector<std::string_view>& elements);  // bytea[]
  static Value numbers(const std::vector<std::int64_t>& elements);           // bigint[]

  Oid type() const { return type_; }
  const std::string& data() const { return data_; }

 private:
  Value(Oid type, std::string data) : type_(type), data_(std::move(data)) {}
  static Value int8(std::int64_t number);
  Oid type_;
  std::string data_;
};

/// A number as it came in a column of type bigint, integer, smallint or boolean; 0 for others.
std::int64_t read_number(std::string_view data);

}  // namespace ponder::postgres
