#include "tools/environment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/strand.hpp>
#include <utility>

#include "tools/detail/environment_host.h"
#include "tools/detail/lua_tool.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kLuaBytesMax = 128 << 20;

std::vector<std::string> environments_in(const std::filesystem::path& library) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(library, error)) {
    if (entry.path().extension() == ".lua") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The member `name` if it is a string, else "".
std::string text_member(const Json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Result<Task> task_of(const Json& json) {
  if (!json.is_object()) return fail(Errc::invalid_argument, "a task is a JSON object");
  Task task;
  task.id = text_member(json, "id");
  task.kind = text_member(json, "kind");
  task.text = text_member(json, "text");
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

}  // namespace

Environment::Environment(Key, std::shared_ptr<Host> host) : host_(std::move(host)) {}
Environment::~Environment() = default;

Result<std::unique_ptr<Environment>> Environment::open(const WorldOptions& options,
                                                       boost::asio::any_io_executor pool,
                                                       const Clock& clock) {
  const std::vector<std::string> known = environments_in(options.library);
  if (std::find(known.begin(), known.end(), options.name) == known.end()) {
    return fail(Errc::not_found,
                fmt::format("there is no environment '{}' in {}, there are: {}", options.name,
                            options.library.string(), fmt::join(known, ", ")));
  }
  if (options.size != "S" && options.size != "M" && options.size != "L") {
    return fail(Errc::invalid_argument,
                fmt::format("there is no size '{}', there are: S, M, L", options.size));
  }
  PONDER_TRY(auto state, lua::State::create(kLuaBytesMax, clock));
  PONDER_TRY(auto database, lua::Database::create());
  boost::asio::any_io_executor strand = boost::asio::make_strand(std::move(pool));
  auto host = std::make_shared<Host>(options, std::move(strand), clock, std::move(state),
                                     std::move(database));
  const Status status = host->start();
  if (!status) return fail_in(fmt::format("environment {}", options.name), status.error());
  return std::make_unique<Environment>(Key(), std::move(host));
}

const std::string& Environment::name() const { return host_->world().name; }
const std::string& Environment::instructions() const { return host_->instructions(); }
const WorldOptions& Environment::world() const { return host_->world(); }

Status Environment::add_tools(Registry& registry) const {
  for (std::size_t i = 0; i < host_->tools().size(); ++i) {
    PONDER_CHECK(registry.add(std::make_unique<LuaTool>(host_, i)));
  }
  return {};
}

Result<Task> Environment::task(std::uint64_t seed, const std::string& kind) {
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
  return host_->begin(json);
}

Result<std::string> Environment::submitted_plan() {
  PONDER_TRY(const Json plan, host_->submitted());
  if (plan.is_null()) return fail(Errc::not_found, "no plan was submitted");
  return dump_json(plan);
}

Result<Verification> Environment::verify(const std::string& plan_json) {
  if (!host_->task()) return no_task();
  PONDER_TRY(const Json plan, parse_json(plan_json));
  // Lua takes the length of a string as it takes that of a list.
  if (!plan.is_array()) return fail(Errc::invalid_argument, "a plan is a JSON array");
  const Host::Argument arguments[] = {&*host_->task(), &plan, nullptr};
  PONDER_TRY(auto results, host_->call("verify", arguments));
  return verification_of(std::move(results[0]));
}

Result<Solution> Environment::solve() {
  if (!host_->task()) return no_task();
  const Host::Argument arguments[] = {&*host_->task(), nullptr};
  PONDER_TRY(const auto results, host_->call("solve", arguments));
  Solution solution;
  solution.is_feasible = !results[0].is_null();
  if (solution.is_feasible) {
    solution.plan_json = dump_json(results[0]);
  } else {
    const Json& conflict = results[1];
    solution.conflict =
        conflict.is_object() ? text_member(conflict, "message") : dump_json(conflict);
  }
  return solution;
}

Result<Judgement> Environment::judge() {
  if (!host_->task()) return no_task();
  Judgement judgement;
  PONDER_TRY(const Json plan, host_->submitted());
  judgement.is_submitted = !plan.is_null();
  if (judgement.is_submitted) {
    PONDER_TRY(judgement.verification, verify(dump_json(plan)));
    judgement.is_solved = judgement.verification.is_ok;
    const auto& violations = judgement.verification.violations;
    judgement.detail = judgement.is_solved  ? "every constraint holds"
                       : violations.empty() ? "the verifier refused the plan"
                                            : violations.front();
    return judgement;
  }
  PONDER_TRY(const Solution solution, solve());
  judgement.is_solved = !solution.is_feasible;
  judgement.detail =
      solution.is_feasible
          ? "no plan was submitted, though there is one"
          : fmt::format("there is no plan ({}), and none was submitted", solution.conflict);
  return judgement;
}

Result<std::vector<Artefact>> Environment::artefacts() {
  PONDER_TRY(const std::string plan, submitted_plan());
  return artefacts_of(plan);
}

Result<std::vector<Artefact>> Environment::artefacts_of(const std::string& plan_json) {
  if (!host_->task()) return no_task();
  PONDER_TRY(const Json plan, parse_json(plan_json));
  PONDER_TRY(const Verification verified, verify(plan_json));
  PONDER_TRY(const Json verification, parse_json(verified.json));
  const Host::Argument arguments[] = {&*host_->task(), &plan, nullptr, &verification};
  PONDER_TRY(const auto results, host_->call("artefacts", arguments));
  std::vector<Artefact> files;
  for (const auto& [name, content] : results[0].items()) {
    if (!content.is_string()) {
      return fail(Errc::internal, fmt::format("artefacts: '{}' is no text", name));
    }
    files.push_back(Artefact{name, content});
  }
  return files;
}

}  // namespace ponder::tools
