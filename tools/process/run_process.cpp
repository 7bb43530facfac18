#include "tools/process/run_process.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>

#include "base/async/task_group.h"
#include "base/async/with_deadline.h"
#include "tools/process/detail/bubblewrap.h"
#include "tools/process/detail/launch.h"
#include "tools/process/detail/output_collector.h"
#include "tools/process/detail/waiter.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

constexpr std::size_t kStatusBytesMax = 4096;
constexpr std::size_t kReportBytesMax = 64;
constexpr int kShellSignalBase = 128;

/// Reads to the end of a stream. Is not cancelled: the end comes with the process's.
asio::awaitable<void> collect(UniqueFd from, OutputCollector* into) {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  Descriptor stream(executor, from.release());
  std::array<char, 16384> buffer;
  boost::system::error_code error;
  while (!error) {
    const std::size_t bytes = co_await stream.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    into->add({buffer.data(), bytes});
  }
}

/// The program and everything that is collected of it.
struct Run {
  Run(Launched launched, std::size_t output_bytes_max, const asio::any_io_executor& executor)
      : launched(std::move(launched)),
        output(output_bytes_max),
        error(output_bytes_max),
        status(kStatusBytesMax),
        report(kReportBytesMax),
        init_known(executor) {}
  Launched launched;
  OutputCollector output;
  OutputCollector error;
  OutputCollector status;
  OutputCollector report;
  bool was_cancelled = false;
  std::optional<siginfo_t> end;
  // Of a sandbox in namespaces: the process with which all others of it end.
  UniqueFd init;
  bool awaits_init = false;       // it is not known yet, and may become so
  asio::steady_timer init_known;  // cancelled when awaits_init ends
};

/// Reads what bubblewrap says, and gets hold of the sandbox's first process as soon as it has one.
asio::awaitable<void> collect_status(Run* run) {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  Descriptor stream(executor, run->launched.status.release());
  std::array<char, kStatusBytesMax> buffer;
  std::string said;
  boost::system::error_code error;
  while (!error) {
    const std::size_t bytes = co_await stream.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    run->status.add({buffer.data(), bytes});
    if (!run->awaits_init) continue;
    said.append(buffer.data(), bytes);
    const pid_t init = init_process(said);
    if (init != 0) run->init = run->launched.process.open_child(init);
    run->awaits_init = init == 0 && !error && said.size() < kStatusBytesMax;
    if (!run->awaits_init) run->init_known.cancel();
  }
}

/// SIGKILL to all of it. bubblewrap's end alone is not enough: while it sets the sandbox up there
/// are moments in which what it has begun would not end with it.
asio::awaitable<void> kill_all(Run* run) {
  if (run->awaits_init) {
    constexpr std::chrono::seconds kLongest{1};  // should bubblewrap stand still
    run->init_known.expires_after(kLongest);
    boost::system::error_code ignored;
    co_await run->init_known.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (run->init) syscall(SYS_pidfd_send_signal, run->init.get(), SIGKILL, nullptr, 0);
  run->launched.process.kill_group();
}

/// Waits for the end of the process, and brings it about when it is cancelled.
asio::awaitable<void> await_end(Run* run) {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::throw_if_cancelled(false);
  Descriptor pidfd(executor, run->launched.process.pidfd());
  boost::system::error_code error;
  co_await pidfd.async_wait(Descriptor::wait_read,
                            asio::redirect_error(asio::use_awaitable, error));
  if (error) {
    run->was_cancelled = true;
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await kill_all(run);
    boost::system::error_code ignored;
    co_await pidfd.async_wait(Descriptor::wait_read,
                              asio::redirect_error(asio::use_awaitable, ignored));
  }
  pidfd.release();  // the process owns it
}

/// From the start to the end of the program and of everything that it started.
asio::awaitable<void> attend(Run* run, asio::any_io_executor executor) {
  TaskGroup readers(executor);
  readers.spawn(collect(std::move(run->launched.standard_output), &run->output));
  readers.spawn(collect(std::move(run->launched.standard_error), &run->error));
  if (run->launched.status) {
    run->awaits_init = true;
    readers.spawn(collect_status(run));
  }
  if (run->launched.report) {
    readers.spawn(collect(std::move(run->launched.report), &run->report));
  }
  TaskGroup waiter(executor);
  waiter.spawn(await_end(run));
  co_await waiter.join();
  run->end = run->launched.process.reap();  // the streams end when the last of the tree is gone
  co_await readers.join();
}

Result<ProcessResult> result_of(Run& run, const SandboxPolicy& policy) {
  if (run.was_cancelled) return fail(Errc::cancelled, "the process was killed");
  ProcessResult result;
  result.standard_output = run.output.finish();
  result.standard_error = run.error.finish();
  const bool has_begun =
      policy.isolation == Isolation::confined || setup_succeeded(run.status.finish().text);
  if (!has_begun) {
    return fail(Errc::unavailable,
                fmt::format("the sandbox cannot be set up: {}", result.standard_error.text));
  }
  const auto report = read_report(run.report.finish().text);
  if (report) {
    result.exit_code = report->exit_code;
    result.signal = report->signal;
  } else if (run.end->si_code == CLD_EXITED) {
    result.exit_code = run.end->si_status;
    // Without a report the waiter was killed, and bubblewrap says so in the shell's way.
    const int signal = result.exit_code - kShellSignalBase;
    const bool says_signal = policy.isolation == Isolation::isolated && signal > 0 && signal < NSIG;
    if (says_signal) result.signal = signal;
  } else {
    result.signal = run.end->si_status;
    result.exit_code = kShellSignalBase + result.signal;
  }
  return result;
}

asio::awaitable<Result<ProcessResult>> run_to_end(ProcessRequest request, SandboxPolicy policy) {
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::this_coro::throw_if_cancelled(false);
  auto launched = launch(request, policy);
  if (!launched) co_return tl::unexpected<Error>(launched.error());
  Run run(std::move(*launched), request.output_bytes_max, executor);
  co_await attend(&run, executor);
  auto result = result_of(run, policy);
  co_return result;
}

}  // namespace

asio::awaitable<Result<ProcessResult>> run_process(ProcessRequest request, SandboxPolicy policy,
                                                   Deadline deadline) {
  auto work = run_to_end(std::move(request), std::move(policy));
  auto result = co_await with_deadline(std::move(work), deadline);
  co_return result;
}

}  // namespace ponder::tools
