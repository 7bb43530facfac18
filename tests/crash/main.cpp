#include <fmt/core.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/crash/matrix.h"
#ifdef PONDER_HAVE_POSTGRES
#include "tests/crash/shared.h"
#endif
#include "tests/crash/travel.h"

/// The whole crash matrix; scripts/crash_matrix builds and runs it.
namespace ponder::crash {
namespace {

struct Options {
  Programs programs;
  std::string store = "sqlite";  // or postgres
  std::uint64_t kills = 2000;
  std::uint64_t seed = 1;
  long stride = 1;
  std::string synchronous = "full";
  std::string rows;  // only those whose names have this in them
  bool json = false;
};

void print_head() {
  fmt::print("{:<36} {:>7} {:>7} {:>7} {:>6} {:>8} {:>9} {:>8} {:>6}\n", "", "rounds", "kills",
             "faults", "lost", "doubled", "unopened", "prompts", "torn");
  std::fflush(stdout);
}

void print_row(const Row& row) {
  const Findings& f = row.findings;
  fmt::print("{:<36} {:>7} {:>7} {:>7} {:>6} {:>8} {:>9} {:>8} {:>6}\n", row.name, row.rounds,
             row.kills, row.faults, f.lost_events, f.doubled_effects, f.unopened_sessions,
             f.prompt_mismatches, f.torn_artefacts);
  std::fflush(stdout);
}

Row sum_of(const std::vector<Row>& rows) {
  Row sum{.name = "together", .findings = {}};
  for (const Row& row : rows) {
    sum.rounds += row.rounds;
    sum.kills += row.kills;
    sum.faults += row.faults;
    sum.findings.lost_events += row.findings.lost_events;
    sum.findings.doubled_effects += row.findings.doubled_effects;
    sum.findings.unopened_sessions += row.findings.unopened_sessions;
    sum.findings.prompt_mismatches += row.findings.prompt_mismatches;
    sum.findings.torn_artefacts += row.findings.torn_artefacts;
  }
  return sum;
}

nlohmann::json json_of(const Row& row) {
  return {{"name", row.name},
          {"rounds", row.rounds},
          {"kills", row.kills},
          {"faults", row.faults},
          {"lost_events", row.findings.lost_events},
          {"doubled_effects", row.findings.doubled_effects},
          {"unopened_sessions", row.findings.unopened_sessions},
          {"prompt_mismatches", row.findings.prompt_mismatches},
          {"torn_artefacts", row.findings.torn_artefacts}};
}

/// Makes the row of this name, if it is wanted.
using Add = std::function<void(const std::string& name, const std::function<Row()>& make)>;

/// The rows of one machine: SQLite.
int attack_file(const Options& options, const std::string& scratch, const Add& add) {
  WorkerMatrix matrix(options.programs, scratch + "/worker", options.seed);
  TravelMatrix travel(options.programs, scratch + "/travel", options.seed);
  for (const Status& twin : {matrix.make_twin(), travel.make_twin()}) {
    if (twin) continue;
    fmt::print(stderr, "{}\n", twin.error().message);
    return 2;
  }
  const long stride = options.stride;
  add("event boundary", [&] { return matrix.every_checkpoint(stride); });
  for (const std::string action : {"kill", "tear", "power"}) {
    add("file call: " + action, [&] { return matrix.every_call(action, stride); });
  }
  for (const std::string action : {"kill", "power"}) {
    add("recovery: " + action, [&] { return matrix.every_call_of_recovery(action, stride); });
  }
  for (const std::string action : {"enospc", "eio", "eio-once", "clock"}) {
    add("failure: " + action, [&] { return matrix.every_failure(action, stride); });
  }
  for (const std::string action : {"kill", "tear", "power"}) {
    add("run, file call: " + action, [&] { return travel.every_call(action, stride); });
  }
  for (const std::string action : {"enospc", "eio", "clock"}) {
    add("run, failure: " + action, [&] { return travel.every_failure(action, stride); });
  }
  add("run, random instants", [&] { return travel.random_instants(options.kills / 10); });
  add("random instants", [&] { return matrix.random_instants(options.kills); });
  return 0;
}

/// The rows of programs that share a store: PostgreSQL.
int attack_server(const Options& options, const std::string& scratch, const Add& add) {
#ifdef PONDER_HAVE_POSTGRES
  SharedMatrix matrix(options.programs, scratch + "/shared", options.seed);
  Status ready = matrix.start_server();
  if (ready) ready = matrix.make_twin();
  if (!ready) {
    fmt::print(stderr, "{}\n", ready.error().message);
    return 2;
  }
  add("workers killed", [&] { return matrix.kills(options.kills); });
  add("workers stopped", [&] { return matrix.stalls(options.kills / 2); });
  add("server crashes", [&] { return matrix.server_crashes(options.kills / 10); });
  add("all at once", [&] { return matrix.everything(options.kills); });
  TravelMatrix travel(options.programs, scratch + "/travel", options.seed);
  const Status twin = travel.make_twin();
  if (!twin) {
    fmt::print(stderr, "{}\n", twin.error().message);
    return 2;
  }
  add("ponder work",
      [&] { return travel.shared([&matrix] { return matrix.make_store(); }, options.kills / 10); });
  return 0;
#else
  (void)options, (void)scratch, (void)add;
  fmt::print(stderr, "built without PostgreSQL: install libpq-dev and build again\n");
  return 2;
#endif
}

int run(const Options& options) {
  // The programs that are attacked inherit it.
  setenv("PONDER_SYNCHRONOUS", options.synchronous.c_str(), 1);
  std::string scratch = (scratch_root() / "ponder-crash-XXXXXX").string();
  if (mkdtemp(scratch.data()) == nullptr) return 2;
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, const std::function<Row()>& make) {
    if (name.find(options.rows) == std::string::npos) return;
    Row row = make();
    row.may_lose_events = options.synchronous == "normal" && row.name.ends_with("power");
    if (!options.json) print_row(row);
    for (const std::string& note : row.findings.notes) fmt::print(stderr, "  {}\n", note);
    rows.push_back(std::move(row));
  };
  if (!options.json) print_head();
  const int status = options.store == "postgres" ? attack_server(options, scratch, add)
                                                 : attack_file(options, scratch, add);
  if (status != 0) return status;
  const Row sum = sum_of(rows);
  if (options.json) {
    nlohmann::json out = json_of(sum);
    out["seed"] = options.seed;
    for (const Row& row : rows) out["rows"].push_back(json_of(row));
    fmt::print("{}\n", out.dump(2));
  } else {
    print_row(sum);
  }
  const bool is_clean =
      std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.is_clean(); });
  if (is_clean) std::filesystem::remove_all(scratch);
  return is_clean ? 0 : 1;
}

}  // namespace
}  // namespace ponder::crash

int main(int argc, char** argv) {
  CLI::App app{"kills ponder in every way and checks what is left; scripts/crash_matrix runs it"};
  ponder::crash::Options options;
  app.add_option("--worker", options.programs.worker)->required();
  app.add_option("--faults", options.programs.faults)->required();
  app.add_option("--ponder", options.programs.ponder)->required();
  app.add_option("--library", options.programs.library)->required();
  app.add_option("--store", options.store, "whose crashes: sqlite, or postgres for shared sessions")
      ->check(CLI::IsMember({"sqlite", "postgres"}))
      ->capture_default_str();
  app.add_option("--kills", options.kills, "at random instants")->capture_default_str();
  app.add_option("--seed", options.seed, "of the random instants")->capture_default_str();
  app.add_option("--stride", options.stride, "1: every place, n: every n-th")
      ->capture_default_str();
  app.add_option("--synchronous", options.synchronous, "of the stores: full, normal")
      ->check(CLI::IsMember({"full", "normal"}))
      ->capture_default_str();
  app.add_option("--rows", options.rows, "only those whose names have this in them");
  app.add_flag("--json", options.json, "print JSON");
  CLI11_PARSE(app, argc, argv);
  return ponder::crash::run(options);
}
