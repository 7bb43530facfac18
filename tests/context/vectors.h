#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "context/json.h"

/// Reading the vectors under tests/context/data; tests run from the source root.
namespace ponder::context::testing {

inline std::string read_data(const std::string& name) {
  std::ifstream file("tests/context/data/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name << " cannot be opened";
  return {std::istreambuf_iterator<char>(file), {}};
}

inline Json read_json(const std::string& name) {
  Result<Json> json = parse_json(read_data(name));
  EXPECT_TRUE(json) << name;
  return json ? std::move(*json) : Json();
}

/// The cases of one kind, `encode` or `parse`, in worked_examples.json.
inline Json::Array worked_examples(std::string_view kind) {
  const Json examples = read_json("worked_examples.json");
  const Json* cases = examples.find(kind);
  EXPECT_NE(cases, nullptr);
  return cases == nullptr ? Json::Array() : *cases->as_array();
}

inline std::string string_at(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  EXPECT_NE(value, nullptr) << key;
  return value == nullptr ? std::string() : *value->as_string();
}

}  // namespace ponder::context::testing
