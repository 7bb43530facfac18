#include "kernels/bench/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ponder::kernels::bench {
namespace {

template <class T>
Option whole_number(const char* name, T& to) {
  return {name, true, [&to](const char* value) {
            const char* end = value + std::strlen(value);
            const auto [stop, error] = std::from_chars(value, end, to);
            return error == std::errc() && stop == end && to > 0;
          }};
}

bool take_argument(int argc, char** argv, int& i, std::initializer_list<Option> options) {
  for (const Option& option : options) {
    if (std::strcmp(argv[i], option.name) != 0) continue;
    if (!option.has_value) return option.take(nullptr);
    if (i + 1 >= argc) return false;
    ++i;
    return option.take(argv[i]);
  }
  return false;
}

}  // namespace

Option flag(const char* name, bool& to) {
  return {name, false, [&to](const char*) { return to = true; }};
}

Option text(const char* name, std::string& to) {
  return {name, true, [&to](const char* value) {
            to = value;
            return true;
          }};
}

Option number(const char* name, double& to) {
  return {name, true, [&to](const char* value) {
            char* end = nullptr;
            to = std::strtod(value, &end);
            return end != value && *end == '\0' && to > 0.0;
          }};
}

Option number(const char* name, unsigned& to) { return whole_number(name, to); }
Option number(const char* name, std::size_t& to) { return whole_number(name, to); }

bool parse_options(int argc, char** argv, std::initializer_list<Option> options,
                   const char* usage) {
  for (int i = 1; i < argc; ++i) {
    if (take_argument(argc, argv, i, options)) continue;
    std::fprintf(stderr, "usage: %s\n", usage);
    return false;
  }
  return true;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace ponder::kernels::bench
