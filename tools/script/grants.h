#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/http/address_policy.h"
#include "base/result.h"
#include "tools/registry.h"

/// What a tool in a Lua file asks for, and what a person allows.
///
/// A capability is a word, or a word and one thing it is limited to: "http",
/// "http:api.example.com".
///
///     http, http:HOST      requests; HOST as in http::AddressPolicy, such as "*.example.com"
///     http-private:HOST    only as a grant: http:HOST, wherever the name leads
///     fs, fs-read          a folder; only as a grant with a path: "fs:DIR" (reads and writes),
///                          "fs-read:DIR" (only reads)
///     sql                  an SQLite database of the tool's own
///     exec, exec:PROGRAM   programs, in the sandbox
///     secret:NAME          a value that is used without being seen
///     kv                   values that the session keeps
///     ask                  questions to the person
///     agent                other agents
namespace ponder::tools {

/// What is allowed. Requests go to public addresses. Others need a grant that says so by itself: an
/// address, a name that only one's own network has ("localhost", "nas", "nas.local",
/// "api.internal"), or "http-private:HOST". For any other name its owner decides where it leads.
struct LuaGrants {
  bool has_public_http = false;
  std::vector<std::string> hosts;          // as in http::AddressPolicy
  std::vector<std::string> private_hosts;  // of them, those that need not be public
  std::vector<std::string> only_hosts;     // what a tool limits itself to; empty: nothing
  std::optional<std::filesystem::path> folder;
  bool may_write = false;  // in the folder
  bool has_sql = false;
  bool has_all_programs = false;
  std::vector<std::string> programs;
  std::vector<std::string> secrets;
  bool has_kv = false;
  bool has_ask = false;
  bool has_agent = false;

  bool has_http() const { return has_public_http || !hosts.empty(); }
  bool has_exec() const { return has_all_programs || !programs.empty(); }
};

/// `invalid_argument` for a word that is no capability, a folder that is not given or given twice.
Result<LuaGrants> parse_grants(std::span<const std::string> grants);

/// Whether a tool may declare `capability`: `invalid_argument` says what it can be.
Status check_capability(std::string_view capability);

/// Whether `grants` allow what a tool declares. What is wider than a grant is not covered by it:
/// "exec" needs "exec", "exec:git" also has enough of "exec:git". But "http" is covered by any
/// "http:HOST", and "fs" and "fs-read" by a folder: the tool then reaches that alone.
bool is_covered(const LuaGrants& grants, std::string_view capability);

/// What a tool with these declarations gets out of the grants: of both, what both allow.
LuaGrants narrow(const LuaGrants& grants, std::span<const std::string> capabilities);

/// The hosts that grants of a tool (narrow) allow, for its HTTP client.
http::AddressPolicy address_policy(const LuaGrants& grants);

/// The capabilities of the registry's tools, as they declare them, that `grants` cover: what the
/// session is to be granted (Registry::admit compares words).
Result<std::vector<std::string>> covered_capabilities(const Registry& registry,
                                                      std::span<const std::string> grants);

}  // namespace ponder::tools
