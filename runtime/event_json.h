#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/event.h"

namespace ponder::runtime {

/// The version of the payloads written now. Older ones always load.
inline constexpr int kEventVersion = 1;

/// The type's name, such as "tool_finished".
std::string event_type(const Event& event);

/// The event's fields as one JSON object on one line.
std::string event_payload(const Event& event);

/// Reads a payload back. An unknown type, a newer version or a damaged payload gives an
/// UnreadableEvent that holds everything; unknown fields are ignored, missing ones have defaults.
Event read_event(std::string_view type, int version, std::string_view payload);

/// One line for `--json` and exports: {"session":..,"seq":..,"time_ms":..,"type":..,"version":..,
/// "data":{..}}.
std::string record_line(const SessionId& session, const Record& record);

}  // namespace ponder::runtime
