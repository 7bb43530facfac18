#include "tools/fix/sandboxed_run.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

namespace ponder::tools {
namespace asio = boost::asio;
namespace {

asio::awaitable<void> run_into(std::optional<Result<ProcessResult>>* out, ProcessRequest request,
                               SandboxPolicy policy, Deadline deadline) {
  auto result = co_await run_process(std::move(request), std::move(policy), deadline);
  out->emplace(std::move(result));
}

}  // namespace

Result<ProcessResult> run_in(const SandboxedRun& how, const std::filesystem::path& folder,
                             ProcessRequest request) {
  SandboxPolicy policy;
  policy.isolation = how.isolation;
  policy.writable = {folder};
  policy.readable = how.readable;
  policy.limits = how.limits;
  request.working_folder = folder;
  asio::io_context io;
  std::optional<Result<ProcessResult>> result;
  std::exception_ptr thrown;
  const Deadline deadline = Deadline::after(system_clock(), how.seconds_max);
  asio::co_spawn(io, run_into(&result, std::move(request), std::move(policy), deadline),
                 [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown || !result) return fail(Errc::internal, "a program's run ended by an exception");
  return std::move(*result);
}

}  // namespace ponder::tools
