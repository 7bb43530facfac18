#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/matrix.h"

namespace ponder::runtime::test {
class FakeServer;
}

namespace ponder::crash {

/// Crashes of the product itself: `ponder run travel` with a model behind an HTTP endpoint that
/// follows a script, then `ponder sessions resume last` until the trip is there. What counts as
/// acknowledged is what `--json` has printed; the prompts are the requests that the endpoint got.
class TravelMatrix {
 public:
  TravelMatrix(const Programs& programs, std::filesystem::path root, std::uint64_t seed);
  ~TravelMatrix();

  /// Plans one trip undisturbed; everything is compared with it.
  Status make_twin();
  /// As in WorkerMatrix; the calls are those on the session store and on the artefacts.
  Row every_call(const std::string& action, long stride);
  Row every_failure(const std::string& action, long stride);
  Row random_instants(std::uint64_t kills);
  /// Trips that wait in the queue of a store on PostgreSQL, and two `ponder work` of which one is
  /// killed or stopped for longer than its lease. `make_store` gives the address of an empty one.
  Row shared(const std::function<std::string()>& make_store, std::uint64_t attacks);

 private:
  struct Round;
  void shared_round(Row& row, const std::string& store);
  Command work_command(const std::string& store) const;
  Command run_command(const std::filesystem::path& folder) const;
  Command resume_command(const std::filesystem::path& folder) const;
  /// What brings the trip on from here: a run, a resume, or nothing once it is at its end.
  std::optional<Command> next_command(const std::filesystem::path& folder,
                                      Findings& findings) const;
  void round(Row& row, const std::vector<Attack>& attacks);
  void attack(Row& row, Round& round, const Attack& attack);
  void conclude(Row& row, Round& round);
  /// Whole, or not there; with `is_over` also: there.
  void audit_artefacts(const std::filesystem::path& folder, bool is_over, Findings& findings) const;
  void audit_requests(Findings& findings);

  Programs programs_;
  RoundFolders folders_;
  std::mt19937_64 random_;
  std::unique_ptr<runtime::test::FakeServer> endpoint_;
  std::uint64_t task_ = 0;  // its seed
  std::size_t requests_audited_ = 0;
  std::map<std::size_t, std::string> twin_requests_;  // by their number of messages
  std::map<std::string, std::string> twin_artefacts_;
  FaultCounts counts_;
  std::chrono::microseconds took_{0};
};

}  // namespace ponder::crash
