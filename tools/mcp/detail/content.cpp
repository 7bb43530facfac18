#include "tools/mcp/detail/content.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tools/registry.h"

namespace ponder::mcp {
namespace {

/// Of base64 text: how many bytes it stands for.
std::size_t decoded_bytes(const Json& block, const char* field) {
  return string_field(block, field).size() / 4 * 3;
}

std::string resource_text(const Json& resource) {
  const std::string uri = one_line(string_field(resource, "uri"), 1000);
  if (resource.contains("text")) {
    return fmt::format("[resource {}]\n{}", uri, string_field(resource, "text"));
  }
  return fmt::format("[resource {}: {}, about {} bytes, not shown]", uri,
                     string_field(resource, "mimeType", "unknown type"),
                     decoded_bytes(resource, "blob"));
}

std::string link_text(const Json& link) {
  std::string text = fmt::format("[link to resource {}", string_field(link, "uri"));
  for (const char* field : {"name", "description", "mimeType"}) {
    const std::string value = one_line(string_field(link, field), 500);
    if (!value.empty()) text += fmt::format(", {}", value);
  }
  return text + "]";
}

std::string block_text(const Json& block) {
  const std::string type = string_field(block, "type");
  if (type == "text") return string_field(block, "text");
  if (type == "resource") return resource_text(object_field(block, "resource"));
  if (type == "resource_link") return link_text(block);
  return fmt::format("[{}: {}, about {} bytes, not shown]", type.empty() ? "content" : type,
                     string_field(block, "mimeType", "unknown type"), decoded_bytes(block, "data"));
}

void add_paragraph(std::string& text, const std::string& more) {
  if (!text.empty() && !more.empty()) text += '\n';
  text += more;
}

/// Whether a result has blocks of content, or none; what is none among some is passed over.
bool has_shape(const Json& result) {
  const auto content = result.find("content");
  if (content == result.end()) return true;
  if (!content->is_array()) return false;
  return content->empty() || std::any_of(content->begin(), content->end(),
                                         [](const Json& block) { return block.is_object(); });
}

/// Whether one of the texts is this value written as JSON, as servers do for older clients.
bool is_written_out(const Json& value, const Json& blocks) {
  for (const Json& block : blocks) {
    if (!block.is_object() || string_field(block, "type") != "text") continue;
    const auto parsed = parse_json(string_field(block, "text"));
    if (parsed && *parsed == value) return true;
  }
  return false;
}

}  // namespace

tools::ToolOutput tool_output(const Json& result, const tools::JsonSchema* output) {
  if (!has_shape(result)) {
    return tools::error_output("the server's result has content of a wrong form: " +
                               dump_json_short(result["content"]));
  }
  const Json& blocks = array_field(result, "content");
  std::string text;
  for (const Json& block : blocks) {
    if (block.is_object()) add_paragraph(text, block_text(block));
  }
  const auto structured = result.find("structuredContent");
  const bool is_structured = structured != result.end() && !structured->is_null();
  if (is_structured && !is_written_out(*structured, blocks)) {
    add_paragraph(text, dump_json(*structured));
  }
  if (bool_field(result, "isError", false)) {
    return tools::error_output(text.empty() ? "the tool failed and does not say why" : text);
  }
  if (output != nullptr) {
    if (!is_structured) {
      return tools::error_output("the server broke its promise: there is no structured content\n" +
                                 text);
    }
    const Status fits = output->check(dump_json(*structured));
    if (!fits) {
      return tools::error_output(fmt::format(
          "the server's result does not fit its own schema: {}\n{}", fits.error().message, text));
    }
  }
  return tools::ToolOutput(text.empty() ? "(no content)" : text, false);
}

tools::ToolOutput resource_output(const Json& result) {
  std::string text;
  for (const Json& content : array_field(result, "contents")) {
    if (content.is_object()) add_paragraph(text, resource_text(content));
  }
  return tools::ToolOutput(text.empty() ? "(no content)" : text, false);
}

tools::ToolOutput prompt_output(const Json& result) {
  std::string text = string_field(result, "description");
  for (const Json& message : array_field(result, "messages")) {
    if (!message.is_object()) continue;
    const Json& content = object_field(message, "content");
    add_paragraph(
        text, fmt::format("{}: {}", string_field(message, "role", "user"), block_text(content)));
  }
  return tools::ToolOutput(text.empty() ? "(no content)" : text, false);
}

std::string list_text(const std::vector<Json>& entries, const std::vector<std::string>& fields) {
  std::string text;
  for (const Json& entry : entries) {
    Json kept = Json::object();
    for (const std::string& field : fields) {
      if (entry.contains(field)) kept[field] = entry[field];
    }
    add_paragraph(text, dump_json(kept));
  }
  return text;
}

}  // namespace ponder::mcp
