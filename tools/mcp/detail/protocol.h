#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tools/mcp/detail/message.h"

/// The constants of the protocol, and what a client says of itself.
namespace ponder::mcp {

inline constexpr const char* kModernVersion = "2026-07-28";
/// Those with a handshake, the newest first; a server may answer with any of them.
inline constexpr std::array kLegacyVersions = {"2025-11-25", "2025-06-18", "2025-03-26",
                                               "2024-11-05"};

bool is_legacy_version(std::string_view version);
/// All versions, for messages.
std::string spoken_versions();

Json client_info(const std::string& version);
/// What the server may ask of us. `elicitation` in both modes where a person can be asked.
Json client_capabilities(bool can_be_asked, bool has_roots);
/// The result of `roots/list`.
Json roots_result(const std::vector<std::filesystem::path>& roots);

/// A value as a header may hold it: as it is, or in the base64 form of specification 2026-07-28,
/// basic/transports/streamable-http#value-encoding.
std::string header_value(std::string_view text);

}  // namespace ponder::mcp
