#include "tools/web/pdf_text.h"

#include <fmt/format.h>

#include "tools/process/run_process.h"
#include "tools/process/sandbox_support.h"
#include "tools/web/charset.h"
#include "tools/web/foreign_text.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kTextBytesMax = 16 << 20;

/// Whichever kind of sandbox there is: both hide the network and every file that matters here.
Result<SandboxPolicy> policy_here() {
  SandboxPolicy policy;
  policy.limits.processes_max = 8;
  policy.limits.cpu_seconds_max = 30;
  policy.limits.memory_bytes_max = std::uint64_t{1} << 30;
  policy.isolation = isolation_of_pdf_text();
  PONDER_CHECK(check_support(sandbox_support(), policy.isolation));
  return policy;
}

}  // namespace

Isolation isolation_of_pdf_text() {
  const bool has_namespaces = check_support(sandbox_support(), Isolation::isolated).has_value();
  return has_namespaces ? Isolation::isolated : Isolation::confined;
}

boost::asio::awaitable<Result<std::string>> pdf_text(std::string bytes, Deadline deadline) {
  auto policy = policy_here();
  PONDER_CO_CHECK(policy);
  std::vector<std::string> argv = {"pdftotext", "-enc", "UTF-8", "-", "-"};
  ProcessRequest request(std::move(argv));
  request.input = std::move(bytes);
  request.output_bytes_max = kTextBytesMax;
  auto result = co_await run_process(std::move(request), std::move(*policy), deadline);
  if (!result && result.error().code == Errc::not_found) {
    co_return fail(Errc::unavailable, "pdftotext is not installed (Debian: poppler-utils)");
  }
  PONDER_CO_CHECK(result);
  if (result->exit_code != 0) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("pdftotext cannot read it: {}",
                               foreign_line(result->standard_error.text, 200)));
  }
  if (result->standard_output.bytes_dropped > 0) {
    co_return fail(Errc::exhausted, "its text is too long");
  }
  std::string text = without_nul(result->standard_output.text);
  for (char& c : text) {
    if (c == '\f') c = '\n';  // between two pages
  }
  co_return text;
}

}  // namespace ponder::tools
