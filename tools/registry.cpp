#include "tools/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/text.h"

namespace ponder::tools {

Status check_tool_name(std::string_view name) {
  constexpr std::size_t kBytesMax = 64;
  const bool is_name =
      !name.empty() && name.size() <= kBytesMax &&
      std::all_of(name.begin(), name.end(),
                  [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
  if (is_name) return {};
  return fail(Errc::invalid_argument, fmt::format("'{}' is no name for a tool", name));
}

Status Registry::add(std::unique_ptr<Tool> tool) {
  const context::ToolSpec& spec = tool->spec();
  PONDER_CHECK(check_tool_name(spec.name));
  if (entries_.contains(spec.name)) {
    return fail(Errc::invalid_argument, fmt::format("there are two tools '{}'", spec.name));
  }
  auto schema = JsonSchema::compile(spec.parameters);
  if (!schema) return fail_in(fmt::format("tool '{}'", spec.name), schema.error());
  specs_.push_back(spec);
  std::string name = spec.name;
  entries_.emplace(std::move(name), Entry{std::move(tool), std::move(*schema)});
  return {};
}

Tool* Registry::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : it->second.tool.get();
}

std::string Registry::unknown_tool_message(std::string_view name) const {
  std::vector<std::string_view> names;
  for (const context::ToolSpec& spec : specs_) names.push_back(spec.name);
  return fmt::format("there is no tool '{}', there are: {}", name, fmt::join(names, ", "));
}

std::variant<Tool*, Refusal> Registry::admit(const context::ToolCall& call,
                                             std::span<const std::string> grants) const {
  const auto it = entries_.find(call.name);
  if (it == entries_.end()) {
    return Refusal(Refusal::Reason::unknown_tool, unknown_tool_message(call.name));
  }
  const Entry& entry = it->second;
  for (const std::string& needed : entry.tool->capabilities()) {
    if (std::find(grants.begin(), grants.end(), needed) != grants.end()) continue;
    return Refusal(Refusal::Reason::not_granted,
                   fmt::format("tool '{}' needs the capability '{}', which was not granted",
                               call.name, needed));
  }
  const Status status = entry.schema.check(call.arguments);
  if (!status) return Refusal(Refusal::Reason::bad_arguments, status.error().message);
  return entry.tool.get();
}

ToolOutput error_output(std::string_view message) {
  return ToolOutput(fmt::format("error: {}", message), true);
}

std::string cap_output(std::string text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  const std::string note = fmt::format("\n[cut: {} of {} bytes]", bytes_max, text.size());
  text.resize(cut_utf8(text, bytes_max).size());
  return text + note;
}

ToolOutput cap_output(ToolOutput output, std::size_t bytes_max) {
  if (output.content.size() <= bytes_max) return output;
  output.bytes_whole = output.content.size();
  output.content = cap_output(std::move(output.content), bytes_max);
  return output;
}

}  // namespace ponder::tools
