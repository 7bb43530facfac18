#include "runtime/agent/blob_tool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "context/json.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace {

constexpr std::size_t kLimitDefault = 2000;  // bytes of one answer
constexpr std::size_t kLimitMax = 8000;
constexpr std::size_t kCharacterBytesMax = 4;  // of UTF-8
constexpr std::size_t kHashCharsMin = 8;
constexpr std::size_t kHeadBytesMax = 100;  // the line above a part

using context::Json;

tools::ToolOutput sorry(std::string_view message) { return tools::error_output(message); }

std::size_t number_or(const Json& arguments, std::string_view key, std::size_t when_absent) {
  const Json* value = arguments.find(key);
  const context::JsonInteger* integer = value == nullptr ? nullptr : value->as_integer();
  if (integer == nullptr) return when_absent;
  std::size_t out = when_absent;
  const std::string& digits = integer->digits;
  std::from_chars(digits.data(), digits.data() + digits.size(), out);
  return out;
}

tools::ToolOutput list(const std::vector<BlobRef>& blobs) {
  std::string out = "moved out of the context, oldest first:\n";
  for (const BlobRef& blob : blobs) {
    out += fmt::format("{} {} bytes: {}\n", blob.hash.substr(0, context::kHashShown), blob.bytes,
                       blob.title);
  }
  return {std::move(out), false};
}

tools::ToolOutput part_of(const std::string& text, std::size_t offset, std::size_t limit) {
  if (offset >= text.size()) return sorry(fmt::format("the text ends at byte {}", text.size()));
  // An offset inside a character begins with the next one.
  while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80) {
    ++offset;
  }
  const std::string_view rest = std::string_view(text).substr(offset);
  std::string_view part = cut_utf8(rest, limit);
  if (part.empty()) part = cut_utf8(rest, kCharacterBytesMax);
  const std::size_t end = offset + part.size();
  std::string out = fmt::format("bytes {} to {} of {}", offset, end, text.size());
  if (end < text.size()) out += fmt::format("; the next offset is {}", end);
  return {fmt::format("{}\n{}", out, part), false};
}

}  // namespace

const context::ToolSpec& blob_tool_spec() {
  static const context::ToolSpec spec = {
      context::kReadBlobTool,
      "Reads what was too long for the context, or was moved out of it to save room, a part at a "
      "time. Without a hash it lists them.",
      R"({"type": "object", "properties": {"hash": {"type": "string"}, )"
      R"("offset": {"type": "integer", "minimum": 0}, )"
      R"("limit": {"type": "integer", "minimum": 1}}})"};
  return spec;
}

BlobTool::BlobTool(const SessionState& state, const SessionStore& store)
    : state_(&state), store_(&store) {}

const BlobRef* BlobTool::find(const std::string& hash) const {
  const auto& blobs = state_->blobs;
  const auto found = std::find_if(blobs.begin(), blobs.end(), [&](const BlobRef& blob) {
    return hash.size() >= kHashCharsMin && blob.hash.starts_with(hash);
  });
  return found == blobs.end() ? nullptr : &*found;
}

boost::asio::awaitable<Result<tools::ToolOutput>> BlobTool::invoke(std::string arguments,
                                                                   tools::ToolContext context) {
  const auto json = context::parse_json(arguments);
  PONDER_CO_CHECK(json);
  const Json* wanted = json->find("hash");
  if (wanted == nullptr || !wanted->is_string() || wanted->as_string()->empty()) {
    co_return list(state_->blobs);
  }
  const BlobRef* blob = find(*wanted->as_string());
  if (blob == nullptr) {
    co_return sorry(fmt::format("nothing was moved out under the hash {}", *wanted->as_string()));
  }
  auto load = [store = store_, hash = blob->hash] { return store->load_blob(hash); };
  const auto text = co_await store_->read(std::move(load));
  PONDER_CO_CHECK(text);
  // What the agent would cut off would be missing before the next offset.
  const std::size_t room = std::max(context.output_bytes_max, kHeadBytesMax) - kHeadBytesMax;
  const std::size_t limit = std::min(number_or(*json, "limit", kLimitDefault), kLimitMax);
  co_return part_of(*text, number_or(*json, "offset", 0), std::min(limit, room));
}

}  // namespace ponder::runtime
