#include "engine/detail/config_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/detail/json_input.h"

namespace ponder::engine::detail {

using nlohmann::json;

ConfigFields::ConfigFields(const json& object, std::string prefix)
    : object_(&object), prefix_(std::move(prefix)) {}

const json* ConfigFields::find(const char* key) {
  known_.emplace_back(key);
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

const json* ConfigFields::find_as(const char* key, Presence presence) {
  const json* value = find(key);
  if (value == nullptr && presence == Presence::required) {
    refuse(key, object_->contains(key) ? "is null, but the model cannot do without it" : "missing");
  }
  return value;
}

void ConfigFields::refuse(const std::string& key, const std::string& why) {
  if (!fault_) fault_.emplace(Errc::invalid_argument, fmt::format("{}{}: {}", prefix_, key, why));
}

void ConfigFields::adopt(const ConfigFields& inner) {
  if (!fault_) fault_ = inner.fault_;
}

void ConfigFields::size(const char* key, std::size_t& out, SizeRange range, Presence presence) {
  const json* value = find_as(key, presence);
  if (value == nullptr) return;
  const bool is_count = value->is_number_unsigned();
  if (!is_count || value->get<std::uint64_t>() < range.min ||
      value->get<std::uint64_t>() > range.max) {
    return refuse(key, fmt::format("{} is not a whole number from {} to {}", brief(*value),
                                   range.min, range.max));
  }
  out = value->get<std::size_t>();
}

void ConfigFields::number(const char* key, double& out, double min, bool min_allowed,
                          Presence presence) {
  const json* value = find_as(key, presence);
  if (value == nullptr) return;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!std::isfinite(number) || number < min || (number == min && !min_allowed)) {
    return refuse(key, fmt::format("{} is not a number {} {}", brief(*value),
                                   min_allowed ? "from" : "above", min));
  }
  // The model computes with floats: there it would be infinite, or nothing.
  const auto narrow = static_cast<float>(number);
  if (!std::isfinite(narrow) || (narrow == 0.0F && number != 0.0)) {
    return refuse(key, brief(*value) + " is beyond the range of fp32");
  }
  out = number;
}

void ConfigFields::positive(const char* key, double& out, Presence presence) {
  number(key, out, 0.0, false, presence);
}

void ConfigFields::non_negative(const char* key, double& out, Presence presence) {
  number(key, out, 0.0, true, presence);
}

void ConfigFields::boolean(const char* key, bool& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return refuse(key, brief(*value) + " is neither true nor false");
  out = value->get<bool>();
}

void ConfigFields::text(const char* key, std::string& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) return refuse(key, brief(*value) + " is not a string");
  out = value->get<std::string>();
}

void ConfigFields::choice(const char* key, std::string& out,
                          const std::vector<std::string>& known) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string() || std::ranges::find(known, value->get<std::string>()) == known.end()) {
    return refuse(
        key, fmt::format("{} is not supported; known: {}", brief(*value), fmt::join(known, ", ")));
  }
  out = value->get<std::string>();
}

std::vector<std::string> ConfigFields::names(const char* key, std::size_t length) {
  std::vector<std::string> out;
  const json* value = find(key);
  if (value == nullptr) return out;
  if (value->is_string()) {
    for (const char c : value->get<std::string>()) out.emplace_back(1, c);
  } else if (value->is_array()) {
    for (const json& entry : *value) {
      if (!entry.is_string()) {
        refuse(key, brief(entry) + " is not a string");
        return {};
      }
      out.push_back(entry.get<std::string>());
    }
  } else {
    refuse(key, brief(*value) + " is not a list");
    return {};
  }
  if (out.size() < length) {
    refuse(key, fmt::format("has {} entries for {} layers", out.size(), length));
    return {};
  }
  return out;
}

std::vector<std::string> ConfigFields::unknown_keys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_->items()) {
    if (std::ranges::find(known_, key) == known_.end()) unknown.push_back(key);
  }
  return unknown;
}

}  // namespace ponder::engine::detail
