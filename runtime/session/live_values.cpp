#include "runtime/session/live_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/async/with_deadline.h"
#include "context/json.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace {

constexpr std::size_t kProblemBytesMax = 200;

/// The property's schema, or nullptr.
const context::Json* property_of(const context::Json& schema, const std::string& name) {
  const context::Json* properties = schema.find("properties");
  return properties == nullptr ? nullptr : properties->find(name);
}

bool is_granted(const tools::Tool& tool, const std::vector<std::string>& grants) {
  return std::ranges::all_of(tool.capabilities(), [&](const std::string& capability) {
    return std::ranges::find(grants, capability) != grants.end();
  });
}

void drop_doubles(std::vector<std::string>& values) {
  std::set<std::string> seen;
  std::erase_if(values, [&](const std::string& value) { return !seen.insert(value).second; });
}

std::size_t bytes_of(const LiveValues& live) {
  std::size_t bytes = 0;
  for (const std::string& value : live.values) bytes += value.size();
  return bytes;
}

/// Takes over what a tool says, as far as it may.
void take(std::vector<tools::ParameterValues> said, const context::ToolSpec& spec,
          std::size_t& bytes_left, ToolValues& out) {
  for (tools::ParameterValues& one : said) {
    LiveValues live{spec.name, clean_utf8(one.parameter), std::move(one.values)};
    drop_doubles(live.values);
    std::string problem = problem_with(live, spec);
    const std::size_t bytes = bytes_of(live);
    if (problem.empty() && bytes > bytes_left) {
      problem = fmt::format("more than {} bytes of values in all", kLiveBytesMax);
    }
    if (problem.empty()) {
      bytes_left -= bytes;
      out.values.push_back(std::move(live));
    } else {
      out.problems.push_back(first_line(
          fmt::format("{}.{}: {}", spec.name, live.parameter, problem), kProblemBytesMax));
    }
  }
}

}  // namespace

std::string problem_with(const LiveValues& live, const context::ToolSpec& spec) {
  const auto schema = context::parse_json(spec.parameters);
  const context::Json* property = schema ? property_of(*schema, live.parameter) : nullptr;
  if (property == nullptr) return "the tool has no such parameter";
  const context::Json* type = property->find("type");
  const std::string* name = type == nullptr ? nullptr : type->as_string();
  if (name == nullptr || *name != "string") return "not a string parameter";
  if (property->find("enum") != nullptr) return "the parameter has an enum of its own";
  if (live.values.empty()) return "no values";
  if (live.values.size() > kLiveValuesMax) {
    return fmt::format("{} values, at most {} can be", live.values.size(), kLiveValuesMax);
  }
  for (const std::string& value : live.values) {
    if (value.size() > kLiveValueBytesMax) {
      return fmt::format("a value of {} bytes, at most {} can be", value.size(),
                         kLiveValueBytesMax);
    }
    if (clean_utf8(value) != value) return "a value that is not UTF-8";
  }
  return {};
}

bool can_have_values(const tools::Registry& tools, const std::vector<std::string>& grants) {
  return std::ranges::any_of(tools.specs(), [&](const context::ToolSpec& spec) {
    const tools::Tool* tool = tools.find(spec.name);
    return tool->has_values() && is_granted(*tool, grants);
  });
}

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
boost::asio::awaitable<ToolValues> ask_for_values(const tools::Registry& tools,
                                                  const std::vector<std::string>& grants,
                                                  const Clock& clock, Deadline deadline) {
  ToolValues out;
  std::size_t bytes_left = kLiveBytesMax;
  for (const context::ToolSpec& spec : tools.specs()) {
    tools::Tool* tool = tools.find(spec.name);
    if (!tool->has_values() || !is_granted(*tool, grants)) continue;
    auto work = tool->values(tools::ToolContext(clock, deadline, kLiveBytesMax));
    auto said = co_await with_deadline(std::move(work), deadline);
    if (said) {
      take(std::move(*said), spec, bytes_left, out);
    } else {
      out.problems.push_back(first_line(
          fmt::format("{}: {}", spec.name, clean_utf8(said.error().message)), kProblemBytesMax));
    }
  }
  co_return out;
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace ponder::runtime
