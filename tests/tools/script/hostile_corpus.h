#pragma once

#include <span>

namespace ponder::tests {

/// A tool that means harm, or is as bad as one that does.
struct HostileScript {
  const char* name;
  const char* body;    // of `run(args, ctx)`; a whole file where it starts with "file:"
  const char* expect;  // part of what the model, or for a file the person, reads; "a|b": either
};

std::span<const HostileScript> hostile_scripts();

}  // namespace ponder::tests
