#pragma once

#include <filesystem>
#include <string>

namespace ponder::runtime {

/// The name of the shipped model that a workflow uses where nobody names one: `mini-code` where
/// code is to be fixed ("fix", and environments whose tasks are projects), else `mini`. What cannot
/// be opened gets `mini`, for opening it again says why. Builds the environment's world.
std::string shipped_model_for(const std::string& workflow, const std::filesystem::path& library);

}  // namespace ponder::runtime
