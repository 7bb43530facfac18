#include "tools/script/detail/resources.h"

#include <memory>
#include <utility>

#include "tools/script/detail/tool_database.h"

namespace ponder::tools {

Result<ScriptResources> make_resources(const LuaToolsOptions& options,
                                       const ScriptDeclaration& declaration,
                                       const std::filesystem::path& file, const Clock& clock,
                                       boost::asio::any_io_executor pool) {
  ScriptResources out(std::move(pool));
  PONDER_TRY(const LuaGrants grants, parse_grants(options.grants));
  out.file_name = file.filename().string();
  out.clock = &clock;
  out.memory_bytes_max = options.memory_bytes_max;
  out.instructions_max = options.instructions_max;
  out.time_max = options.time_max;
  out.grants = narrow(grants, declaration.capabilities);
  out.capabilities = declaration.capabilities;
  out.isolation = options.isolation;
  out.secrets = options.secrets;
  if (out.grants.has_http()) {
    http::ClientOptions client;
    client.addresses = address_policy(out.grants);
    client.ca_file = options.ca_file;
    PONDER_TRY(auto made, http::Client::create(std::move(client)));
    out.client = std::move(made);
  }
  if (out.grants.folder) {
    PONDER_TRY(RootedFolder folder, RootedFolder::open(*out.grants.folder));
    out.folder = std::make_shared<const RootedFolder>(std::move(folder));
  }
  if (out.grants.has_sql && !options.data_folder.empty()) {
    out.database = std::make_shared<ToolDatabase>(
        options.data_folder / (declaration.spec.name + ".db"), clock, out.pool);
  }
  return out;
}

}  // namespace ponder::tools
