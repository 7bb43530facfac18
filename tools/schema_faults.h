#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ponder::tools {

/// Something wrong with a JSON Schema itself.
struct SchemaFault {
  std::string path;  // "#/properties/city/type"
  std::string what;
};

/// Everything for which JsonSchema::compile refuses a schema, the first fifty faults.
std::vector<SchemaFault> schema_faults(std::string_view schema_text);

}  // namespace ponder::tools
