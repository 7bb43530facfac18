#include "base/postgres/value.h"

#include <utility>

namespace ponder::postgres {
namespace {

// Of pg_type.h; they never change.
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kText = 25;
constexpr Oid kByteaArray = 1001;
constexpr Oid kTextArray = 1009;
constexpr Oid kInt8Array = 1016;

/// Most significant byte first.
template <std::integral T>
void put(std::string& out, T number) {
  const auto bits = static_cast<std::make_unsigned_t<T>>(number);
  for (int shift = 8 * static_cast<int>(sizeof(T)) - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(bits >> shift));
  }
}

void put_element(std::string& out, std::string_view element) {
  put(out, static_cast<std::int32_t>(element.size()));
  out += element;
}

/// Dimensions, whether there are nulls, the elements' type; then of the one dimension its size and
/// the first index.
std::string array_head(Oid element_type, std::size_t count) {
  std::string out;
  put(out, std::int32_t{count > 0 ? 1 : 0});
  put(out, std::int32_t{0});
  put(out, element_type);
  if (count == 0) return out;
  put(out, static_cast<std::int32_t>(count));
  put(out, std::int32_t{1});
  return out;
}

std::string array_of(Oid element_type, const std::vector<std::string_view>& elements) {
  std::string out = array_head(element_type, elements.size());
  for (const std::string_view element : elements) put_element(out, element);
  return out;
}

}  // namespace

Value::Value(std::string_view text) : type_(kText), data_(text) {}

Value Value::int8(std::int64_t number) {
  std::string data;
  put(data, number);
  return {kInt8, std::move(data)};
}

Value Value::bytes(std::string_view bytes) { return {kBytea, std::string(bytes)}; }

Value Value::texts(const std::vector<std::string_view>& elements) {
  return {kTextArray, array_of(kText, elements)};
}

Value Value::byte_strings(const std::vector<std::string_view>& elements) {
  return {kByteaArray, array_of(kBytea, elements)};
}

Value Value::numbers(const std::vector<std::int64_t>& elements) {
  std::string data = array_head(kInt8, elements.size());
  for (const std::int64_t element : elements) {
    put(data, static_cast<std::int32_t>(sizeof element));
    put(data, element);
  }
  return {kInt8Array, std::move(data)};
}

std::int64_t read_number(std::string_view data) {
  if (data.empty() || data.size() > sizeof(std::int64_t)) return 0;
  // The first byte carries the sign, but for boolean, where it is 0 or 1 anyway.
  auto bits =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<signed char>(data[0])));
  for (const char c : data.substr(1)) bits = bits << 8 | static_cast<unsigned char>(c);
  return static_cast<std::int64_t>(bits);
}

}  // namespace ponder::postgres
