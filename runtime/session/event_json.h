#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session/event.h"

namespace ponder::runtime {

/// The version of the payloads written now. Older ones always load.
inline constexpr int kEventVersion = 1;

/// The names of all types, in the order of the variant.
const std::vector<std::string>& event_types();

/// The type's name, such as "tool_finished".
std::string event_type(const Event& event);

/// The version of its payload: of an UnreadableEvent the one it was written with.
int event_version(const Event& event);

/// The event's fields as one JSON object on one line.
std::string event_payload(const Event& event);

/// The type of the UnreadableEvent (of version 0) that stands for places without an event.
inline constexpr std::string_view kMissingType = "missing";

/// Reads a payload back. An unknown type, a newer version or a damaged payload gives an
/// UnreadableEvent that holds everything; unknown fields are ignored, missing ones have defaults.
Event read_event(std::string_view type, int version, std::string_view payload);

/// One line for `--json` and exports: {"session":..,"seq":..,"time_ms":..,"type":..,"version":..,
/// "data":{..}}; of an UnreadableEvent with "unreadable":true and the payload as a string in data.
std::string record_line(const SessionId& session, const Record& record);

}  // namespace ponder::runtime
