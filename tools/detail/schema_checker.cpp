#include "tools/detail/schema_checker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace ponder::tools {
namespace {

constexpr std::size_t kFaultsMax = 3;

const Json* keyword(const Json& schema, const char* name) {
  const auto it = schema.find(name);
  return it == schema.end() ? nullptr : &*it;
}

/// As most schemas of a parameter do.
bool says_no_more_than_a_type(const Json& schema) {
  return schema.size() == schema.count("type") + schema.count("description");
}

bool is_integer(const Json& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  return std::isfinite(number) && std::floor(number) == number;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return is_integer(value);
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

std::string with_article(const std::string& type) {
  if (type == "null") return type;
  const bool is_vowel = type == "array" || type == "object" || type == "integer";
  return (is_vowel ? "an " : "a ") + type;
}

std::size_t num_characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// Whether `value` is a multiple, as decimal fractions are meant: 0.0075 is one of 0.0001.
bool is_multiple(double value, double of) {
  if (!std::isfinite(value)) return false;
  const double quotient = value / of;
  if (!std::isfinite(quotient)) return false;
  constexpr double kTolerance = 1e-9;
  return std::abs(quotient - std::round(quotient)) <=
         kTolerance * std::max(1.0, std::abs(quotient));
}

bool fits_int64(const Json& value) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= kMax;
  return value.is_number_integer();
}

/// Negative, zero or positive as a < b, a = b, a > b; 64-bit integers are not lost to rounding.
int order(const Json& a, const Json& b) {
  const auto compare = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (fits_int64(a) && fits_int64(b)) return compare(a.get<std::int64_t>(), b.get<std::int64_t>());
  if (a.is_number_unsigned() && b.is_number_unsigned()) {
    return compare(a.get<std::uint64_t>(), b.get<std::uint64_t>());
  }
  return compare(a.get<double>(), b.get<double>());
}

std::string list_of(const Json& values) {
  std::vector<std::string> texts;
  for (const Json& value : values) texts.push_back(dump_json_short(value));
  return fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace

const Json* resolve_reference(const Json& root, const std::string& reference) {
  if (!reference.starts_with('#')) return nullptr;
  std::string pointer;  // the fragment is percent-encoded
  for (std::size_t i = 1; i < reference.size(); ++i) {
    if (reference[i] == '%' && i + 2 < reference.size()) {
      pointer += static_cast<char>(std::strtol(reference.substr(i + 1, 2).c_str(), nullptr, 16));
      i += 2;
    } else {
      pointer += reference[i];
    }
  }
  try {
    const Json::json_pointer target(pointer);
    return root.contains(target) ? &root.at(target) : nullptr;
  } catch (const Json::exception&) {
    return nullptr;  // an anchor, or no pointer at all
  }
}

std::string child_place(const std::string& place, const std::string& key) {
  return place.empty() ? key : place + "." + key;
}

std::string child_place(const std::string& place, std::size_t index) {
  return fmt::format("{}[{}]", place, index);
}

bool SchemaChecker::fault(const std::string& place, const std::string& what) {
  if (faults_.size() < kFaultsMax) {
    faults_.push_back(place.empty() ? "arguments: " + what
                                    : fmt::format("parameter '{}': {}", place, what));
  }
  return false;
}

bool SchemaChecker::fits_quietly(const Json& value, const Json& schema, const std::string& place) {
  std::vector<std::string> kept = std::move(faults_);
  faults_.clear();
  const bool fits = check(value, schema, place);
  faults_ = std::move(kept);
  return fits;
}

bool SchemaChecker::check(const Json& value, const Json& schema, const std::string& place) {
  if (is_exhausted()) return false;
  ++steps_;
  ++depth_;
  const bool fits = apply(value, schema, place);
  if (!is_exhausted()) --depth_;  // an overrun stays visible on the way out
  return fits;
}

bool SchemaChecker::apply(const Json& value, const Json& schema, const std::string& place) {
  if (schema.is_boolean()) return schema.get<bool>() || fault(place, "is not allowed");
  if (!check_type(value, schema, place)) return false;  // other faults would follow from this one
  if (says_no_more_than_a_type(schema)) return true;
  bool fits = check_choice(value, schema, place);
  if (value.is_object()) fits = check_object(value, schema, place) && fits;
  if (value.is_array()) fits = check_array(value, schema, place) && fits;
  if (value.is_number()) fits = check_number(value, schema, place) && fits;
  if (value.is_string()) fits = check_string(value, schema, place) && fits;
  return check_combinations(value, schema, place) && fits;
}

bool SchemaChecker::check_type(const Json& value, const Json& schema, const std::string& place) {
  const Json* type = keyword(schema, "type");
  if (type == nullptr) return true;
  const auto fits = [&value](const Json& name) {
    return has_type(value, name.get_ref<const std::string&>());
  };
  const bool is_list = type->is_array();
  if (is_list ? std::any_of(type->begin(), type->end(), fits) : fits(*type)) return true;
  std::vector<std::string> names;
  for (const Json& name : is_list ? *type : Json::array({*type})) {
    names.push_back(with_article(name.get_ref<const std::string&>()));
  }
  return fault(
      place, fmt::format("expected {}, got {}", fmt::join(names, " or "), dump_json_short(value)));
}

bool SchemaChecker::check_choice(const Json& value, const Json& schema, const std::string& place) {
  if (const Json* values = keyword(schema, "enum")) {
    if (std::find(values->begin(), values->end(), value) == values->end()) {
      return fault(place, fmt::format("expected one of {}, got {}", list_of(*values),
                                      dump_json_short(value)));
    }
  }
  if (const Json* constant = keyword(schema, "const")) {
    if (*constant != value) {
      return fault(place, fmt::format("expected {}, got {}", dump_json_short(*constant),
                                      dump_json_short(value)));
    }
  }
  return true;
}

bool SchemaChecker::check_required(const Json& value, const Json& schema,
                                   const std::string& place) {
  bool fits = true;
  const auto demand = [&](const Json& names, const std::string& because) {
    for (const Json& name : names) {
      const auto& text = name.get_ref<const std::string&>();
      if (!value.contains(text)) fits = fault(child_place(place, text), "is missing" + because);
    }
  };
  if (const Json* names = keyword(schema, "required")) demand(*names, "");
  if (const Json* dependents = keyword(schema, "dependentRequired")) {
    for (const auto& [name, names] : dependents->items()) {
      if (value.contains(name)) demand(names, fmt::format(" (needed with '{}')", name));
    }
  }
  return fits;
}

bool SchemaChecker::check_properties(const Json& value, const Json& schema,
                                     const std::string& place) {
  const Json* properties = keyword(schema, "properties");
  const Json* patterns = keyword(schema, "patternProperties");
  const Json* additional = keyword(schema, "additionalProperties");
  bool fits = true;
  for (const auto& [name, member] : value.items()) {
    const std::string where = child_place(place, name);
    bool is_known = false;
    if (properties != nullptr && properties->contains(name)) {
      is_known = true;
      fits = check(member, (*properties)[name], where) && fits;
    }
    if (patterns != nullptr) {
      for (const auto& [pattern, subschema] : patterns->items()) {
        if (!matches(pattern, name, where)) continue;
        is_known = true;
        fits = check(member, subschema, where) && fits;
      }
    }
    if (is_known || additional == nullptr) continue;
    if (*additional != false) {
      fits = check(member, *additional, where) && fits;
      continue;
    }
    std::vector<std::string> known;
    if (properties != nullptr) {
      for (const auto& property : properties->items()) known.push_back(property.key());
    }
    fits = fault(where, known.empty()
                            ? "is not known, there are no parameters"
                            : fmt::format("is not known, there are: {}", fmt::join(known, ", ")));
  }
  return fits;
}

bool SchemaChecker::check_object(const Json& value, const Json& schema, const std::string& place) {
  bool fits = check_required(value, schema, place);
  fits = check_properties(value, schema, place) && fits;
  if (const Json* names = keyword(schema, "propertyNames")) {
    for (const auto& member : value.items()) {
      if (fits_quietly(Json(member.key()), *names, place)) continue;
      fits = fault(child_place(place, member.key()), "has a name that is not allowed");
    }
  }
  const Json* least = keyword(schema, "minProperties");
  const Json* most = keyword(schema, "maxProperties");
  const auto size = static_cast<double>(value.size());
  if (least != nullptr && size < least->get<double>()) {
    fits = fault(place, fmt::format("needs at least {} members, got {}", dump_json(*least), size));
  }
  if (most != nullptr && size > most->get<double>()) {
    fits = fault(place, fmt::format("takes at most {} members, got {}", dump_json(*most), size));
  }
  return fits;
}

bool SchemaChecker::check_array(const Json& value, const Json& schema, const std::string& place) {
  const Json* prefix = keyword(schema, "prefixItems");
  const Json* items = keyword(schema, "items");
  const std::size_t num_prefix = prefix == nullptr ? 0 : prefix->size();
  bool fits = true;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Json* subschema = i < num_prefix ? &(*prefix)[i] : items;
    if (subschema != nullptr) fits = check(value[i], *subschema, child_place(place, i)) && fits;
  }
  const Json* least = keyword(schema, "minItems");
  const Json* most = keyword(schema, "maxItems");
  const auto size = static_cast<double>(value.size());
  if (least != nullptr && size < least->get<double>()) {
    fits = fault(place, fmt::format("needs at least {} items, got {}", dump_json(*least), size));
  }
  if (most != nullptr && size > most->get<double>()) {
    fits = fault(place, fmt::format("takes at most {} items, got {}", dump_json(*most), size));
  }
  const Json* unique = keyword(schema, "uniqueItems");
  if (unique != nullptr && *unique == true) {
    for (std::size_t i = 0; i + 1 < value.size() && !is_exhausted(); ++i) {
      steps_ += static_cast<int>(value.size() - i) / 16;  // comparing is cheaper than checking
      if (std::find(value.begin() + static_cast<std::ptrdiff_t>(i) + 1, value.end(), value[i]) !=
          value.end()) {
        fits = fault(place, fmt::format("holds {} twice", dump_json_short(value[i])));
        break;
      }
    }
  }
  return check_contains(value, schema, place) && fits;
}

bool SchemaChecker::check_contains(const Json& value, const Json& schema,
                                   const std::string& place) {
  const Json* contains = keyword(schema, "contains");
  if (contains == nullptr) return true;
  const Json* least = keyword(schema, "minContains");
  const Json* most = keyword(schema, "maxContains");
  const auto hits =
      static_cast<double>(std::count_if(value.begin(), value.end(), [&](const Json& item) {
        return fits_quietly(item, *contains, place);
      }));
  if (hits < (least == nullptr ? 1.0 : least->get<double>())) {
    return fault(place, "holds too few items of the kind that it needs");
  }
  if (most != nullptr && hits > most->get<double>()) {
    return fault(place, "holds too many items of one kind");
  }
  return true;
}

bool SchemaChecker::check_number(const Json& value, const Json& schema, const std::string& place) {
  bool fits = true;
  const auto demand = [&](const char* name, const char* words, auto holds) {
    const Json* bound = keyword(schema, name);
    if (bound == nullptr || holds(value, *bound)) return;
    fits = fault(place, fmt::format("must be {} {}, got {}", words, dump_json(*bound),
                                    dump_json_short(value)));
  };
  demand("minimum", "at least", [](const Json& v, const Json& b) { return order(v, b) >= 0; });
  demand("maximum", "at most", [](const Json& v, const Json& b) { return order(v, b) <= 0; });
  demand("exclusiveMinimum", "over", [](const Json& v, const Json& b) { return order(v, b) > 0; });
  demand("exclusiveMaximum", "under", [](const Json& v, const Json& b) { return order(v, b) < 0; });
  demand("multipleOf", "a multiple of", [](const Json& v, const Json& b) {
    if (fits_int64(v) && fits_int64(b)) return v.get<std::int64_t>() % b.get<std::int64_t>() == 0;
    return is_multiple(v.get<double>(), b.get<double>());
  });
  return fits;
}

bool SchemaChecker::check_string(const Json& value, const Json& schema, const std::string& place) {
  const auto& text = value.get_ref<const std::string&>();
  const Json* least = keyword(schema, "minLength");
  const Json* most = keyword(schema, "maxLength");
  const Json* pattern = keyword(schema, "pattern");
  const auto length = static_cast<double>(num_characters(text));
  bool fits = true;
  if (least != nullptr && length < least->get<double>()) {
    fits = fault(place, fmt::format("needs at least {} characters, got {}", dump_json(*least),
                                    dump_json_short(value)));
  }
  if (most != nullptr && length > most->get<double>()) {
    fits =
        fault(place, fmt::format("takes at most {} characters, got {}", dump_json(*most), length));
  }
  if (pattern != nullptr && !matches(*pattern, text, place)) {
    fits = fault(place, fmt::format("must match the pattern {}, got {}", dump_json(*pattern),
                                    dump_json_short(value)));
  }
  return fits;
}

bool SchemaChecker::matches(const std::string& pattern, const std::string& text,
                            const std::string& place) {
  const auto found = document_.patterns.at(pattern).search(text, &match_steps_left_);
  if (found) return *found;
  steps_ = kStepsMax + 1;  // whether it matches is not known, so the whole answer is not
  return fault(place, found.error().message);
}

bool SchemaChecker::check_combinations(const Json& value, const Json& schema,
                                       const std::string& place) {
  bool fits = true;
  if (const Json* reference = keyword(schema, "$ref")) {
    fits = check(value, *resolve_reference(document_.root, *reference), place);
  }
  if (const Json* all = keyword(schema, "allOf")) {
    for (const Json& each : *all) fits = check(value, each, place) && fits;
  }
  if (const Json* any = keyword(schema, "anyOf")) fits = check_any_of(value, *any, place) && fits;
  if (const Json* one = keyword(schema, "oneOf")) fits = check_one_of(value, *one, place) && fits;
  if (const Json* none = keyword(schema, "not")) {
    if (fits_quietly(value, *none, place)) {
      fits = fault(place, fmt::format("{} is not allowed", dump_json_short(value)));
    }
  }
  if (const Json* condition = keyword(schema, "if")) {
    const Json* branch = keyword(schema, fits_quietly(value, *condition, place) ? "then" : "else");
    if (branch != nullptr) fits = check(value, *branch, place) && fits;
  }
  return fits;
}

bool SchemaChecker::check_any_of(const Json& value, const Json& options, const std::string& place) {
  const bool fits = std::any_of(options.begin(), options.end(), [&](const Json& option) {
    return fits_quietly(value, option, place);
  });
  if (fits) return true;
  if (options.size() == 1) return check(value, options[0], place);
  return fault(place, fmt::format("{} fits none of the {} forms that are allowed",
                                  dump_json_short(value), options.size()));
}

bool SchemaChecker::check_one_of(const Json& value, const Json& options, const std::string& place) {
  const auto hits = std::count_if(options.begin(), options.end(), [&](const Json& option) {
    return fits_quietly(value, option, place);
  });
  if (hits == 1) return true;
  if (hits == 0) return check_any_of(value, options, place);
  return fault(place, fmt::format("{} fits {} forms where exactly one is allowed",
                                  dump_json_short(value), hits));
}

}  // namespace ponder::tools
