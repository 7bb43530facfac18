#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace ponder::engine::detail {

struct SizeRange {
  std::size_t min = 0;
  std::size_t max = 0;
};

enum class Presence { required, optional };

/// Reads typed fields out of one JSON object and remembers the first fault, so that a long list of
/// fields reads as a list. After a fault the reads go on, harmlessly.
///
/// A key that is null counts as absent. An absent optional field leaves `out` alone.
/// Lifetime: the object must outlive it.
class ConfigFields {
 public:
  /// `prefix` stands in front of the keys in messages: "rope_scaling.".
  ConfigFields(const nlohmann::json& object, std::string prefix);

  /// The value at key, or nullptr; marks the key as known.
  const nlohmann::json* find(const char* key);

  void size(const char* key, std::size_t& out, SizeRange range, Presence presence);
  void positive(const char* key, double& out, Presence presence);
  void non_negative(const char* key, double& out, Presence presence);
  void boolean(const char* key, bool& out);
  void text(const char* key, std::string& out);
  /// The text, which must be one of `known`.
  void choice(const char* key, std::string& out, const std::vector<std::string>& known);
  /// A list of names of at least `length` entries; empty when absent. A string counts as the list
  /// of its characters.
  std::vector<std::string> names(const char* key, std::size_t length);
  void ignore(const char* key) { (void)find(key); }

  /// Records a fault in `key`, unless there is one already.
  void refuse(const std::string& key, const std::string& why);
  /// Takes over the fault of a nested object's fields.
  void adopt(const ConfigFields& inner);
  const std::optional<Error>& fault() const { return fault_; }

  /// Keys of the object that nobody asked for, sorted.
  std::vector<std::string> unknown_keys() const;

 private:
  void number(const char* key, double& out, double min, bool min_allowed, Presence presence);
  const nlohmann::json* find_as(const char* key, Presence presence);

  const nlohmann::json* object_;
  std::string prefix_;
  std::vector<std::string> known_;
  std::optional<Error> fault_;
};

}  // namespace ponder::engine::detail
