#pragma once

namespace ponder::tools::lua {

/// The Lua part of the sandbox. Called with the host's functions and the table of Lua's own
/// globals, it returns the sandbox's `require` and a function that makes the globals of one chunk.
extern const char* const kPrelude;

}  // namespace ponder::tools::lua
