#include "tools/mcp/detail/protocol.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/base64.h"

namespace ponder::mcp {
namespace {

/// The path as a file: address; what an address may not hold is escaped.
std::string file_address(const std::filesystem::path& path) {
  std::string address = "file://";
  for (const unsigned char c : path.string()) {
    const bool is_plain =
        std::isalnum(c) != 0 ||
        std::string_view("/-._~").find(static_cast<char>(c)) != std::string_view::npos;
    address += is_plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return address;
}

}  // namespace

bool is_legacy_version(std::string_view version) {
  return std::find(kLegacyVersions.begin(), kLegacyVersions.end(), version) !=
         kLegacyVersions.end();
}

std::string spoken_versions() {
  return fmt::format("{}, {}", kModernVersion, fmt::join(kLegacyVersions, ", "));
}

Json client_info(const std::string& version) { return {{"name", "ponder"}, {"version", version}}; }

Json client_capabilities(bool can_be_asked, bool has_roots) {
  Json capabilities = Json::object();
  if (can_be_asked) {
    capabilities["elicitation"] = {{"form", Json::object()}, {"url", Json::object()}};
  }
  if (has_roots) capabilities["roots"] = Json::object();
  return capabilities;
}

Json roots_result(const std::vector<std::filesystem::path>& roots) {
  Json list = Json::array();
  for (const auto& root : roots) {
    list.push_back({{"uri", file_address(root)}, {"name", root.filename().string()}});
  }
  return {{"roots", list}};
}

std::string header_value(std::string_view text) {
  const auto is_visible = [](unsigned char c) { return c >= 0x20 && c <= 0x7E; };
  const bool is_plain = std::all_of(text.begin(), text.end(), is_visible) && !text.empty() &&
                        text.front() != ' ' && text.back() != ' ';
  const bool looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
  if (is_plain && !looks_encoded) return std::string(text);
  return fmt::format("=?base64?{}?=", encode_base64(text));
}

}  // namespace ponder::mcp
