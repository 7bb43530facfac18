#include "runtime/session/canonical_arguments.h"

#include <algorithm>

#include "context/json.h"

namespace ponder::runtime {
namespace {

using context::Json;

void sort_keys(Json& value) {
  if (Json::Array* array = value.as_array()) {
    for (Json& element : *array) sort_keys(element);
  }
  if (Json::Object* object = value.as_object()) {
    for (auto& [key, member] : *object) sort_keys(member);
    std::sort(object->begin(), object->end(),
              [](const Json::Member& a, const Json::Member& b) { return a.first < b.first; });
  }
}

}  // namespace

Result<std::string> canonical_arguments(std::string_view arguments) {
  PONDER_TRY(Json value, context::parse_json(arguments));
  if (!value.is_object()) return fail(Errc::invalid_argument, "the arguments are no object");
  sort_keys(value);
  return context::print_json(value);
}

}  // namespace ponder::runtime
