#pragma once

#include <string>

#include "runtime/model/model_client.h"
#include "runtime/session/session_state.h"

/// Every field as text, so that two values can be compared and their difference read.
namespace ponder::simulation {

std::string dump(const runtime::ModelRequest& request);  // but for the deadline
std::string dump(const runtime::SessionState& state);

/// The first line in which they differ, of both.
std::string difference(const std::string& a, const std::string& b);

}  // namespace ponder::simulation
