#pragma once

// The command lines of the benchmarks: flags, and names followed by a value.

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace ponder::kernels::bench {

struct Option {
  const char* name;
  bool has_value;
  std::function<bool(const char* value)> take;  // false: not a value of this option
};

Option flag(const char* name, bool& to);
Option text(const char* name, std::string& to);
Option number(const char* name, double& to);
Option number(const char* name, unsigned& to);     // at least 1
Option number(const char* name, std::size_t& to);  // at least 1

/// False, having said so on standard error with `usage`, when something is not understood.
bool parse_options(int argc, char** argv, std::initializer_list<Option> options, const char* usage);

/// Requires: not empty.
double median(std::vector<double> values);

}  // namespace ponder::kernels::bench
