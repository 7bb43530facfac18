#include "tools/mcp/pins.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include "tools/detail/json.h"
#include "tools/detail/unique_fd.h"

namespace ponder::mcp {
namespace {

namespace fs = std::filesystem;
using tools::Json;

std::string text_in(const Json& pin, const char* name) {
  const auto field = pin.find(name);
  return field == pin.end() ? std::string() : tools::dump_json(*field);
}

/// A definition's text was made by dump_json().
Json json_of(const std::string& definition) {
  const auto value = tools::parse_json(definition);
  return value ? *value : Json();
}

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

/// Whole or not at all; only its owner can read it.
Status write_file(const fs::path& path, const std::string& text) {
  const auto failure = [&path] {
    return fail(Errc::unavailable, fmt::format("{}: {}", path.string(), strerror(errno)));
  };
  // A name that nobody can guess, and a file that was not there: no link is followed.
  std::string draft = path.string() + ".XXXXXX";
  const tools::UniqueFd file(mkostemp(draft.data(), O_CLOEXEC));
  if (!file) return failure();
  const bool is_written = write_all(file.get(), text) && fsync(file.get()) == 0 &&
                          rename(draft.c_str(), path.c_str()) == 0;
  if (is_written) return {};
  auto failed = failure();
  unlink(draft.c_str());
  return failed;
}

}  // namespace

Result<Pins> Pins::load(const fs::path& file) {
  Pins pins;
  pins.file_ = file;
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return pins;
  std::ifstream in(file, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto root = tools::parse_json(text);
  const bool is_read = in && root && root->is_object() && root->contains("servers") &&
                       (*root)["servers"].is_object();
  if (!is_read) {
    return fail(Errc::corrupt, fmt::format("{} holds no approved definitions: {}", file.string(),
                                           root ? "it has another form" : root.error().message));
  }
  for (const auto& [server, tools] : (*root)["servers"].items()) {
    if (!tools.is_object()) {
      return fail(Errc::corrupt, fmt::format("{}: server '{}'", file.string(), server));
    }
    pins.servers_[server];
    for (const auto& [tool, pin] : tools.items()) {
      if (!pin.is_object()) {
        return fail(Errc::corrupt,
                    fmt::format("{}: tool '{}' of '{}'", file.string(), tool, server));
      }
      pins.servers_[server][tool] = Pin{text_in(pin, "approved"), text_in(pin, "waiting")};
    }
  }
  return pins;
}

Status Pins::save() const {
  Json servers = Json::object();
  for (const auto& [server, tools] : servers_) {
    servers[server] = Json::object();
    for (const auto& [tool, pin] : tools) {
      Json& entry = servers[server][tool];
      if (!pin.approved.empty()) entry["approved"] = json_of(pin.approved);
      if (!pin.waiting.empty()) entry["waiting"] = json_of(pin.waiting);
    }
  }
  std::error_code error;
  if (file_.has_parent_path()) fs::create_directories(file_.parent_path(), error);
  return write_file(file_, Json({{"servers", servers}}).dump(1) + "\n");
}

Pins::Verdict Pins::verdict(const std::string& server, const std::string& tool,
                            const Definition& definition) const {
  const auto tools = servers_.find(server);
  if (tools == servers_.end()) return Verdict::unknown_server;
  const auto pin = tools->second.find(tool);
  if (pin == tools->second.end() || pin->second.approved.empty()) return Verdict::added;
  return pin->second.approved == definition.text ? Verdict::approved : Verdict::changed;
}

bool Pins::meet(const std::string& server) {
  const bool is_new = servers_.try_emplace(server).second;
  has_changed_ = has_changed_ || is_new;
  return is_new;
}

void Pins::approve(const std::string& server, const std::string& tool,
                   const Definition& definition) {
  servers_[server][tool] = Pin{definition.text, ""};
  has_changed_ = true;
}

void Pins::keep_waiting(const std::string& server, const std::string& tool,
                        const Definition& definition) {
  Pin& pin = servers_[server][tool];
  if (pin.waiting == definition.text) return;
  pin.waiting = definition.text;
  has_changed_ = true;
}

Result<std::size_t> Pins::approve_waiting(const std::string& server,
                                          const std::vector<std::string>& tools) {
  const auto known = servers_.find(server);
  if (known == servers_.end()) {
    return fail(Errc::not_found, fmt::format("no server '{}' was ever seen", server));
  }
  std::vector<std::string> names = tools;
  if (names.empty()) {
    for (const auto& [tool, pin] : known->second) {
      if (!pin.waiting.empty()) names.push_back(tool);
    }
  }
  for (const std::string& name : names) {
    const auto pin = known->second.find(name);
    if (pin != known->second.end() && !pin->second.waiting.empty()) continue;
    return fail(Errc::not_found, fmt::format("nothing of '{}' of '{}' waits", name, server));
  }
  for (const std::string& name : names) {
    Pin& pin = known->second[name];
    pin = Pin{pin.waiting, ""};
    has_changed_ = true;
  }
  return names.size();
}

std::vector<Pins::Entry> Pins::entries() const {
  std::vector<Entry> entries;
  for (const auto& [server, tools] : servers_) {
    for (const auto& [tool, pin] : tools) {
      entries.push_back({server, tool, pin.approved, pin.waiting});
    }
  }
  return entries;
}

}  // namespace ponder::mcp
