#include "runtime/cli/approval_desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>
#include <vector>

#include "runtime/cli/terminal.h"

namespace ponder::cli {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kCodeLength = 4;
constexpr std::size_t kShownBytesMax = std::size_t{16} << 10;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  while (true) {
    const std::size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return out;
    text.remove_prefix(begin);
    const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

/// All that the answer is bound to, or a note that not all of it is there.
std::string question_text(const runtime::ApprovalQuestion& question, const std::string& code) {
  const std::string& arguments = question.arguments;
  const bool is_cut = arguments.size() > kShownBytesMax;
  const std::string note =
      is_cut ? fmt::format("\n   [cut here: {} bytes in all]", arguments.size()) : "";
  return fmt::format(
      "   may {} run{}? It is {}. Its arguments:\n   {}{}\n"
      "   /allow {}   /allow {} always [ARGUMENT...]   /deny {} [REASON]\n",
      printable(question.tool),
      question.sub_agent.empty() ? "" : " for sub-agent " + printable(question.sub_agent),
      runtime::effect_name(question.effect), printable(arguments.substr(0, kShownBytesMax)), note,
      code, code, code);
}

}  // namespace

asio::awaitable<Result<runtime::ApprovalAnswer>> ApprovalDesk::ask(
    runtime::ApprovalQuestion question) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto executor = co_await asio::this_coro::executor;
  const std::string code = code_for(question.digest);
  const auto here = pending_.emplace(pending_.end(), std::move(question), code, executor);
  show_(question_text(here->question, code));
  auto cancellation = co_await asio::this_coro::cancellation_state;
  while (!here->answer && cancellation.cancelled() == asio::cancellation_type::none) {
    boost::system::error_code ignored;
    co_await here->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  std::optional<runtime::ApprovalAnswer> answer = std::move(here->answer);
  pending_.erase(here);
  if (!answer) co_return fail(Errc::cancelled, "the question was withdrawn");
  co_return std::move(*answer);
}

std::string ApprovalDesk::code_for(const std::string& digest) const {
  const auto is_taken = [this](const std::string& code) {
    return std::any_of(pending_.begin(), pending_.end(),
                       [&](const Pending& pending) { return pending.code == code; });
  };
  std::string code = digest.substr(0, kCodeLength);
  for (std::size_t n = 2; is_taken(code); ++n) {
    code = fmt::format("{}-{}", digest.substr(0, kCodeLength), n);
  }
  return code;
}

Result<ApprovalDesk::Pending*> ApprovalDesk::find(std::string_view code) {
  for (Pending& pending : pending_) {
    if (pending.code == code && !pending.answer) return &pending;
  }
  return fail(Errc::not_found, fmt::format("no question has the code '{}'", code));
}

Status ApprovalDesk::allow(std::string_view words) {
  const std::vector<std::string> list = words_of(words);
  PONDER_TRY(Pending* const pending, find(list.empty() ? "" : list[0]));
  runtime::ApprovalAnswer answer;
  answer.decision = runtime::ApprovalDecision::allow_once;
  if (list.size() > 1) {
    if (list[1] != "always") {
      return fail(Errc::invalid_argument, fmt::format("'{}' is not understood: /allow CODE always "
                                                      "[ARGUMENT...]",
                                                      list[1]));
    }
    answer.decision = runtime::ApprovalDecision::allow_session;
    PONDER_TRY(answer.rule, rule_for(pending->question, {list.begin() + 2, list.end()}));
  }
  pending->answer = std::move(answer);
  pending->arrived.cancel();
  return {};
}

Status ApprovalDesk::deny(std::string_view words) {
  const std::size_t end = std::min(words.find_first_of(" \t"), words.size());
  PONDER_TRY(Pending* const pending, find(words.substr(0, end)));
  const std::size_t reason = words.find_first_not_of(" \t", end);
  runtime::ApprovalAnswer answer;
  if (reason != std::string_view::npos) answer.reason = words.substr(reason);
  pending->answer = std::move(answer);
  pending->arrived.cancel();
  return {};
}

}  // namespace ponder::cli
