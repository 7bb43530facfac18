#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/store/store_doctor.h"

/// `ponder sessions doctor`: what is damaged in the store, and mending it.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using runtime::StoreFault;

constexpr std::size_t kDetailColumns = 300;

bool is_open_turn(const StoreFault& fault) {
  return fault.kind == runtime::FaultKind::orphaned_intent ||
         fault.kind == runtime::FaultKind::orphaned_sub_agent;
}

/// Damage that is still there for somebody to act on; a turn that can be resumed is none.
bool is_pressing(const StoreFault& fault) {
  if (fault.kind == runtime::FaultKind::orphaned_intent) return false;
  return fault.state == StoreFault::State::found || fault.state == StoreFault::State::lasting;
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<int> close_turn(runtime::SessionStore& store, runtime::SessionId id) {
  const auto calls = co_await runtime::close_open_turn(store, id);
  if (!calls) co_return complain(calls.error().message);
  co_return 0;
}

/// Closes the turn that the examiner found open, and says so in the report.
int close_open_turn(const Environment& environment, const std::string& id,
                    runtime::StoreReport& report) {
  if (std::none_of(report.faults.begin(), report.faults.end(), is_open_turn)) return 0;
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  asio::io_context io(1);
  const int status = run_interruptibly(io, close_turn(**store, runtime::SessionId{id}));
  if (status != 0) return status;
  for (StoreFault& fault : report.faults) {
    if (!is_open_turn(fault)) continue;
    fault.state = StoreFault::State::mended;
    fault.remedy = "the turn was closed; its calls are reported as interrupted, outcome unknown";
  }
  return 0;
}

void print_json(const runtime::StoreReport& report) {
  nlohmann::json faults = nlohmann::json::array();
  for (const StoreFault& fault : report.faults) {
    faults.push_back({{"kind", runtime::fault_name(fault.kind)},
                      {"state", runtime::state_name(fault.state)},
                      {"session", fault.session},
                      {"seq", fault.seq},
                      {"detail", fault.detail},
                      {"remedy", fault.remedy}});
  }
  const nlohmann::json line = {
      {"sessions", report.sessions}, {"events", report.events}, {"faults", std::move(faults)}};
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_table(const runtime::StoreReport& report) {
  for (const StoreFault& fault : report.faults) {
    const std::string where =
        fault.seq == 0 ? fault.session : fmt::format("{} event {}", fault.session, fault.seq);
    fmt::print("{:<12} {:<17} {}{}{}\n{:13}{}\n", runtime::state_name(fault.state),
               runtime::fault_name(fault.kind), where, where.empty() ? "" : ": ",
               one_line(fault.detail, kDetailColumns), "", fault.remedy);
  }
  fmt::print(
      "{} sessions, {} events, {}\n", report.sessions, report.events,
      report.faults.empty() ? "nothing wrong" : fmt::format("{} findings", report.faults.size()));
}

}  // namespace

int sessions_doctor(const Environment& environment, const SessionsOptions& options) {
  runtime::DoctorOptions how;
  how.mends = options.mends;
  if (!options.id.empty()) {
    const auto store = open_store(environment);
    if (!store) return complain(store.error().message);
    const auto id = (*store)->resolve(options.id);
    if (!id) return complain(id.error().message);
    how.session = id->value;
  }
  auto report = runtime::examine_store(environment.sessions, system_clock(), how);
  if (!report) return complain(report.error().message);
  if (how.mends && !how.session.empty()) {
    const int status = close_open_turn(environment, how.session, *report);
    if (status != 0) return status;
  }
  if (options.json)
    print_json(*report);
  else
    print_table(*report);
  return std::any_of(report->faults.begin(), report->faults.end(), is_pressing) ? 1 : 0;
}

}  // namespace ponder::cli
