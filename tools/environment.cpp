#include "tools/environment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/strand.hpp>
#include <utility>

#include "base/text.h"
#include "tools/code/code_tools.h"
#include "tools/detail/environment_card.h"
#include "tools/detail/environment_host.h"
#include "tools/detail/lua_tool.h"
#include "tools/files/file_tools.h"
#include "tools/fix/fix_report.h"
#include "tools/fix/project_world.h"
#include "tools/json_schema.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kLuaBytesMax = 128 << 20;
constexpr std::size_t kNameBytesShown = 200;

/// The member `name` if it is a string, else "".
std::string text_member(const Json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// Where an environment's script lies.
struct Place {
  std::filesystem::path folder;
  std::string module;
};

Result<Place> place_of(const WorldOptions& options) {
  if (is_environment_path(options.name)) {
    const std::filesystem::path path(options.name);
    std::error_code error;
    if (path.extension() != ".lua" || !std::filesystem::is_regular_file(path, error)) {
      return fail(Errc::not_found, fmt::format("{}: there is no such .lua file", options.name));
    }
    return Place{std::filesystem::absolute(path, error).parent_path(), path.stem().string()};
  }
  const std::vector<std::string> known = environment_names(options.library);
  if (std::find(known.begin(), known.end(), options.name) == known.end()) {
    std::error_code error;
    const bool is_here = std::filesystem::is_regular_file(options.name + ".lua", error);
    const std::string hint =
        is_here ? fmt::format("; the file here is named ./{}.lua", options.name) : "";
    return fail(Errc::not_found,
                fmt::format("there is no environment '{}' in {}, there are: {}{}", options.name,
                            options.library.string(), fmt::join(known, ", "), hint));
  }
  return Place{options.library, options.name};
}

Result<Task> task_of(const Json& json) {
  if (!json.is_object()) return fail(Errc::invalid_argument, "a task is a JSON object");
  Task task;
  task.id = text_member(json, "id");
  task.kind = text_member(json, "kind");
  task.text = text_member(json, "text");
  const auto difficulty = json.find("difficulty");
  if (difficulty != json.end() && difficulty->is_number_integer()) task.difficulty = *difficulty;
  const auto effort = json.find("effort");
  if (effort != json.end() && effort->is_number()) task.effort = effort->get<double>();
  task.json = dump_json(json);
  return task;
}

/// Lists that Lua gave as empty tables, which could have been objects.
void restore_lists(Json& verification) {
  for (const char* name : {"violations", "proof"}) {
    const auto it = verification.find(name);
    if (it != verification.end() && it->is_object() && it->empty()) *it = Json::array();
  }
}

Result<Verification> verification_of(Json said) {
  if (!said.is_object() || !said.contains("ok")) {
    return fail(Errc::internal, "verify: the environment gave no verdict");
  }
  restore_lists(said);
  Verification verification;
  verification.is_ok = said["ok"] == true;
  for (const Json& violation : said.value("violations", Json::array())) {
    verification.violations.push_back(text_member(violation, "message"));
  }
  verification.json = dump_json(said);
  return verification;
}

tl::unexpected<Error> no_task() {
  return fail(Errc::invalid_argument, "the environment was given no task");
}

/// Whether the answer fits the environment's schema, which compiled when it was opened.
Status check_answer(const EnvironmentCard& card, const std::string& answer_json) {
  if (card.answer_schema.empty()) return {};
  PONDER_TRY(const JsonSchema schema, JsonSchema::compile(card.answer_schema));
  const Status status = schema.check(answer_json);
  if (!status) return fail_in(fmt::format("the {}", card.answer_noun), status.error());
  return {};
}

Json changes_json(const std::vector<WorldChange>& changes) {
  Json list = Json::array();
  for (const WorldChange& change : changes) {
    list.push_back({{"tool", change.tool}, {"arguments", change.arguments}, {"key", change.key}});
  }
  return list;
}

}  // namespace

std::vector<std::string> environment_names(const std::filesystem::path& library) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(library, error)) {
    const std::filesystem::path stem = entry.path().stem();
    // NAME.d.lua are types for editors.
    if (entry.path().extension() != ".lua" || stem.extension() == ".d") continue;
    names.push_back(stem.string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_environment_path(std::string_view name) {
  return name.find('/') != std::string_view::npos || name.ends_with(".lua");
}

const std::vector<std::string>& Environment::grants() {
  static const std::vector<std::string> names = {"sql", "sql_write", kReadFiles, kWriteFiles,
                                                 kRunPrograms};
  return names;
}

Environment::Environment(Key, std::shared_ptr<Host> host, std::unique_ptr<ProjectWorld> project)
    : host_(std::move(host)), project_(std::move(project)) {}
Environment::~Environment() = default;

Result<std::unique_ptr<Environment>> Environment::open(const WorldOptions& options,
                                                       boost::asio::any_io_executor pool,
                                                       const Clock& clock) {
  PONDER_TRY(const Place place, place_of(options));
  if (options.size != "S" && options.size != "M" && options.size != "L") {
    return fail(Errc::invalid_argument,
                fmt::format("there is no size '{}', there are: S, M, L", options.size));
  }
  PONDER_TRY(auto state, lua::State::create(kLuaBytesMax, clock));
  PONDER_TRY(auto database, lua::Database::create());
  boost::asio::any_io_executor strand = boost::asio::make_strand(pool);
  auto host = std::make_shared<Host>(options, std::move(strand), clock, std::move(state),
                                     std::move(database));
  const Status status = host->start(place.folder, place.module);
  if (!status) return fail_in(fmt::format("environment {}", options.name), status.error());
  std::unique_ptr<ProjectWorld> project;
  if (host->card().is_project) {
    project = std::make_unique<ProjectWorld>(options.programs, std::move(pool));
  }
  return std::make_unique<Environment>(Key(), std::move(host), std::move(project));
}

const std::string& Environment::name() const { return host_->world().name; }
const EnvironmentCard& Environment::card() const { return host_->card(); }
const WorldOptions& Environment::world() const { return host_->world(); }

Status Environment::add_tools(Registry& registry) const {
  if (project_) return project_->add_tools(registry);
  for (std::size_t i = 0; i < host_->tools().size(); ++i) {
    PONDER_CHECK(registry.add(std::make_unique<LuaTool>(host_, i)));
  }
  return {};
}

Result<Task> Environment::task(std::uint64_t seed, const std::string& kind) {
  PONDER_CHECK(host_->end());
  const Json seed_json = seed;
  const Json kind_json = kind.empty() ? Json(nullptr) : Json(kind);
  const Host::Argument arguments[] = {&seed_json, nullptr, &kind_json};
  PONDER_TRY(const auto results, host_->call("task", arguments));
  return task_of(results[0]);
}

Result<Task> Environment::task_from_text(const std::string& text) {
  const Json text_json = text;
  const Host::Argument arguments[] = {&text_json, nullptr};
  PONDER_TRY(const auto results, host_->call("parse_request", arguments));
  const Json& task = results[0];
  if (!task.is_object()) {
    return fail(Errc::invalid_argument,
                results[1].is_string() ? results[1].get<std::string>() : "no task in these words");
  }
  std::vector<std::string> doubts;
  for (const Json& doubt : task.value("not_understood", Json::array())) {
    if (doubt.is_string()) doubts.push_back(doubt);
  }
  if (!doubts.empty()) {
    return fail(Errc::invalid_argument,
                fmt::format("could not make out: {}", fmt::join(doubts, "; ")));
  }
  return task_of(task);
}

Result<Task> Environment::task_from_json(const std::string& json) {
  PONDER_TRY(const Json task, parse_json(json));
  return task_of(task);
}

Status Environment::begin(const Task& task) {
  PONDER_TRY(const Json json, parse_json(task.json));
  PONDER_CHECK(host_->begin(json));
  if (project_) project_->begin(task.json);
  return {};
}

Result<std::string> Environment::submitted() {
  PONDER_TRY(const Json answer, host_->submitted());
  if (answer.is_null()) {
    return fail(Errc::not_found, fmt::format("no {} was submitted", card().answer_noun));
  }
  return dump_json(answer);
}

Result<Verification> Environment::verify(const std::string& answer_json) {
  const std::optional<Json>& task = host_->task();
  if (!task) return no_task();
  PONDER_TRY(const Json answer, parse_json(answer_json));
  // Lua takes the length of a string as it takes that of a list.
  PONDER_CHECK(check_answer(card(), answer_json));
  const Host::Argument arguments[] = {&*task, &answer, nullptr};
  PONDER_TRY(auto results, host_->call("verify", arguments));
  return verification_of(std::move(results[0]));
}

Result<Solution> Environment::solve() {
  const std::optional<Json>& task = host_->task();
  if (!task) return no_task();
  const Host::Argument arguments[] = {&*task, nullptr};
  PONDER_TRY(const auto results, host_->call("solve", arguments));
  Solution solution;
  solution.is_feasible = !results[0].is_null();
  if (solution.is_feasible) {
    solution.answer_json = dump_json(results[0]);
  } else {
    const Json& conflict = results[1];
    solution.conflict =
        conflict.is_object() ? text_member(conflict, "message") : dump_json(conflict);
  }
  return solution;
}

Result<std::vector<context::ToolCall>> Environment::oracle() {
  const std::optional<Json>& task = host_->task();
  if (!task) return no_task();
  const Host::Argument arguments[] = {&*task, nullptr};
  PONDER_TRY(const auto results, host_->call("oracle", arguments));
  std::vector<context::ToolCall> calls;
  for (const Json& said : results[0]) {
    const bool is_call = said.is_object() && !text_member(said, "tool").empty();
    if (!is_call) {
      return fail(Errc::internal, "oracle: a list of {tool, arguments} was expected");
    }
    context::ToolCall call;
    call.name = text_member(said, "tool");
    call.arguments = dump_json(said.value("arguments", Json::object()));
    calls.push_back(std::move(call));
  }
  return calls;
}

Result<Judgement> Environment::judge(std::stop_token stop) {
  if (!host_->task()) return no_task();
  Judgement judgement;
  if (project_) {
    PONDER_TRY(const FixReport report, project_->judge(std::move(stop)));
    judgement.is_submitted = true;  // the project as it is now
    judgement.is_solved = report.is_fixed;
    judgement.detail = report.verdict;
    judgement.verification.is_ok = report.is_fixed;
    judgement.verification.json = dump_json(fix_report_json(report));
    return judgement;
  }
  PONDER_TRY(const Json answer, host_->submitted());
  judgement.is_submitted = !answer.is_null();
  if (judgement.is_submitted) {
    auto verified = verify(dump_json(answer));
    if (!verified && verified.error().code == Errc::invalid_argument) {
      judgement.detail = verified.error().message;  // no answer of the form that is asked for
      judgement.verification.json = "{}";
      return judgement;
    }
    if (!verified) return tl::unexpected<Error>(verified.error());
    judgement.verification = std::move(*verified);
    judgement.is_solved = judgement.verification.is_ok;
    const auto& violations = judgement.verification.violations;
    judgement.detail = judgement.is_solved  ? "every constraint holds"
                       : violations.empty() ? "the verifier refused the " + card().answer_noun
                                            : violations.front();
    return judgement;
  }
  judgement.detail = fmt::format("no {} was submitted", card().answer_noun);
  // A solver speaks of the world as the task found it.
  if (!card().has_solver || card().is_changeable) return judgement;
  PONDER_TRY(const Solution solution, solve());
  judgement.is_solved = !solution.is_feasible;
  judgement.detail = solution.is_feasible
                         ? judgement.detail + ", though there is one"
                         : fmt::format("there is no {} ({}), and none was submitted",
                                       card().answer_noun, solution.conflict);
  return judgement;
}

Result<std::vector<Artefact>> Environment::artefacts() {
  PONDER_TRY(const std::string answer, submitted());
  return artefacts_of(answer);
}

Result<std::vector<Artefact>> Environment::artefacts_of(const std::string& answer_json) {
  const std::optional<Json>& task = host_->task();
  if (!task) return no_task();
  PONDER_TRY(const Json answer, parse_json(answer_json));
  PONDER_TRY(const Verification verified, verify(answer_json));
  PONDER_TRY(const Json verification, parse_json(verified.json));
  Json contents = Json::object();
  if (card().has_artefacts) {
    const Host::Argument arguments[] = {&*task, &answer, nullptr, &verification};
    PONDER_TRY(auto results, host_->call("artefacts", arguments));
    if (results[0].is_object()) contents = std::move(results[0]);
  }
  if (!contents.contains(card().answer_file)) {
    contents[card().answer_file] =
        answer.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  if (!contents.contains(kProofFile)) {
    Json proof = {{"format", 1},
                  {"world", {{"name", name()}, {"seed", world().seed}, {"size", world().size}}},
                  {"task", *task},
                  {"calls", changes_json(host_->changes())}};
    proof.update(verification);
    contents[kProofFile] = proof.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  std::vector<Artefact> files;
  for (const auto& [file_name, content] : contents.items()) {
    if (!is_artefact_name(file_name)) {
      return fail(
          Errc::internal,
          fmt::format("artefacts: '{}' is no name without a folder that does not begin with "
                      "a dot",
                      cut_utf8(file_name, kNameBytesShown)));
    }
    if (!content.is_string()) {
      return fail(Errc::internal, fmt::format("artefacts: '{}' is no text", file_name));
    }
    files.push_back(Artefact{file_name, content});
  }
  return files;
}

Result<std::string> Environment::dump() {
  PONDER_TRY(std::string text, host_->dump());
  if (!project_ || !host_->task()) return text;
  PONDER_TRY(const std::string changes, project_->dump());
  return text + changes;
}

}  // namespace ponder::tools
