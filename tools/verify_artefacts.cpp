#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "tools/detail/json.h"
#include "tools/environment.h"
#include "tools/player.h"

namespace ponder::tools {
namespace {

Result<std::string> read_file(const std::filesystem::path& path) {
  constexpr std::uintmax_t kBytesMax = 16 << 20;
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return fail(Errc::corrupt, fmt::format("{}: {}", path.string(), error.message()));
  if (size > kBytesMax) return fail(Errc::corrupt, fmt::format("{}: too large", path.string()));
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) return fail(Errc::corrupt, fmt::format("{}: cannot be read", path.string()));
  return text;
}

Result<Json> read_json(const std::filesystem::path& path) {
  PONDER_TRY(const std::string text, read_file(path));
  auto value = parse_json(text);
  if (!value)
    return fail(Errc::corrupt, fmt::format("{}: {}", path.string(), value.error().message));
  return value;
}

/// Whether an environment that is a file came with the artefacts: such a verifier proves nothing.
bool is_part_of(const std::filesystem::path& directory, const std::string& environment) {
  if (!is_environment_path(environment)) return false;
  std::error_code ignored;
  const auto folder = std::filesystem::weakly_canonical(directory, ignored);
  const auto file = std::filesystem::weakly_canonical(environment, ignored);
  return std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first ==
         folder.end();
}

/// The world that a proof speaks of. `corrupt` when it names none.
Result<WorldOptions> world_of(const Json& proof, const std::filesystem::path& library,
                              const std::filesystem::path& path) {
  WorldOptions world;
  world.library = library;
  try {
    const Json& said = proof.at("world");
    world.name = said.at("name").get<std::string>();
    world.seed = said.at("seed").get<std::uint64_t>();
    world.size = said.at("size").get<std::string>();
    if (!proof.at("task").is_object()) {
      return fail(Errc::corrupt, fmt::format("{}: 'task' is no object", path.string()));
    }
  } catch (const Json::exception&) {
    return fail(Errc::corrupt,
                fmt::format("{}: needs 'world' (name, seed, size) and 'task'", path.string()));
  }
  return world;
}

/// Whether the files say what the answer says: each is rendered again and compared.
Status compare_files(Environment& environment, const std::string& answer,
                     const std::filesystem::path& directory) {
  const std::string& source = environment.card().answer_file;
  PONDER_TRY(const auto artefacts, environment.artefacts_of(answer));
  for (const Artefact& artefact : artefacts) {
    // These two were the source of all others, and may hold more than what is rendered.
    if (artefact.file_name == source || artefact.file_name == kProofFile) continue;
    PONDER_TRY(const std::string text, read_file(directory / artefact.file_name));
    if (text != artefact.content) {
      return fail(Errc::corrupt, fmt::format("{} does not say what {} says",
                                             (directory / artefact.file_name).string(), source));
    }
  }
  return {};
}

/// Makes the calls once more that changed the world.
Status repeat_calls(Player& player, const Json& proof, const std::filesystem::path& path) {
  for (const Json& said : proof.value("calls", Json::array())) {
    context::ToolCall call;
    std::string key;
    try {
      call.name = said.at("tool").get<std::string>();
      call.arguments = said.at("arguments").get<std::string>();
      key = said.at("key").get<std::string>();
    } catch (const Json::exception&) {
      return fail(Errc::corrupt,
                  fmt::format("{}: a call needs 'tool', 'arguments' and 'key'", path.string()));
    }
    PONDER_TRY(const ToolOutput output, player.call(call, key));
    if (output.is_error) {
      return fail(Errc::corrupt, fmt::format("{}: the call of {} fails now: {}", path.string(),
                                             call.name, output.content));
    }
  }
  return {};
}

}  // namespace

Result<Verification> verify_artefacts(const std::filesystem::path& library,
                                      const std::filesystem::path& directory,
                                      boost::asio::any_io_executor pool) {
  const auto proof_path = directory / kProofFile;
  PONDER_TRY(const Json proof, read_json(proof_path));
  PONDER_TRY(const WorldOptions world, world_of(proof, library, proof_path));
  if (is_part_of(directory, world.name)) {
    return fail(Errc::corrupt, fmt::format("{}: the environment '{}' lies among the artefacts that "
                                           "it would have to judge",
                                           proof_path.string(), world.name));
  }
  PONDER_TRY(auto environment, Environment::open(world, std::move(pool)));
  const auto answer_path = directory / environment->card().answer_file;
  PONDER_TRY(const Json answer, read_json(answer_path));
  PONDER_TRY(const Task task, environment->task_from_json(dump_json(proof["task"])));
  PONDER_CHECK(environment->begin(task));
  PONDER_TRY(auto player, Player::make(*environment));
  PONDER_CHECK(repeat_calls(*player, proof, proof_path));
  const std::string answer_text = dump_json(answer);
  auto verification = environment->verify(answer_text);
  if (!verification) return fail_in(answer_path.string(), verification.error());
  if (verification->is_ok) {
    PONDER_CHECK(compare_files(*environment, answer_text, directory));
  }
  return verification;
}

}  // namespace ponder::tools
