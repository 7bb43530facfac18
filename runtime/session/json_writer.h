#pragma once

#include <charconv>
#include <concepts>
#include <iterator>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::runtime {

/// A JSON object on its way into a text, member by member. Every step of every session writes
/// eight of them, and a tree of values that is made only to be written takes five times as long.
///
/// The text is what nlohmann::json would write if members are added in the order of their names;
/// bytes that are not UTF-8 become U+FFFD.
class JsonObject {
 public:
  /// `out` outlives the writer, and nobody else adds to it before end().
  explicit JsonObject(std::string& out) : out_(&out) { *out_ += '{'; }
  JsonObject(const JsonObject&) = delete;
  JsonObject& operator=(const JsonObject&) = delete;

  /// A text, a boolean, a number, a list of these, or a tree. Names are written as they are.
  template <class T>
  JsonObject& add(std::string_view name, const T& value) {
    begin(name);
    write(value);
    return *this;
  }

  /// What is JSON already.
  void add_json(std::string_view name, std::string_view json) {
    begin(name);
    *out_ += json;
  }

  /// An object; `fill` is called with its writer.
  template <std::invocable<JsonObject&> Fill>
  void add_object(std::string_view name, Fill fill) {
    begin(name);
    JsonObject inner(*out_);
    fill(inner);
    inner.end();
  }

  /// A list of objects; `fill` is called with a writer and the item for each.
  template <class T, std::invocable<JsonObject&, const T&> Fill>
  void add_objects(std::string_view name, const std::vector<T>& items, Fill fill) {
    begin(name);
    write_list(items, [&](const T& item) {
      JsonObject inner(*out_);
      fill(inner, item);
      inner.end();
    });
  }

  /// Nothing is added after this.
  void end() { *out_ += '}'; }

 private:
  void begin(std::string_view name);
  void write(std::string_view text);
  void write(const char* text) { write(std::string_view(text)); }
  void write(const std::string& text) { write(std::string_view(text)); }
  void write(bool value) { *out_ += value ? "true" : "false"; }
  void write(double value);
  void write(const nlohmann::json& tree);
  template <std::integral T>
  void write(T value) {
    char digits[24];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
    out_->append(digits, end);
  }
  template <class T>
  void write(const std::vector<T>& items) {
    write_list(items, [this](const T& item) { write(item); });
  }
  template <class T, class WriteItem>
  void write_list(const std::vector<T>& items, WriteItem write_item) {
    *out_ += '[';
    bool is_first = true;
    for (const T& item : items) {
      if (!is_first) *out_ += ',';
      is_first = false;
      write_item(item);
    }
    *out_ += ']';
  }

  std::string* out_;
  bool is_empty_ = true;
};

}  // namespace ponder::runtime
