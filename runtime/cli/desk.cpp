#include "runtime/cli/desk.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>
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

/// The code that a line begins with, and what comes after it.
std::pair<std::string_view, std::string_view> code_and_rest(std::string_view words) {
  const std::size_t end = std::min(words.find_first_of(" \t"), words.size());
  const std::size_t rest = std::min(words.find_first_not_of(" \t", end), words.size());
  return {words.substr(0, end), words.substr(rest)};
}

std::string for_whom(const std::string& sub_agent) {
  return sub_agent.empty() ? "" : " for sub-agent " + printable(sub_agent);
}

/// So that no line of it looks like one of ours.
std::string indented(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\n' ? std::string("\n     ") : std::string(1, c);
  return out;
}

/// All that the answer is bound to, or a note that not all of it is there.
std::string text_of(const runtime::ApprovalQuestion& question, const std::string& code) {
  const std::string& arguments = question.arguments;
  const bool is_cut = arguments.size() > kShownBytesMax;
  const std::string note =
      is_cut ? fmt::format("\n   [cut here: {} bytes in all]", arguments.size()) : "";
  return fmt::format(
      "   may {} run{}? It is {}. Its arguments:\n   {}{}\n"
      "   /allow {}   /allow {} always [ARGUMENT...]   /deny {} [REASON]\n",
      printable(question.tool), for_whom(question.sub_agent), runtime::effect_name(question.effect),
      printable(arguments.substr(0, kShownBytesMax)), note, code, code, code);
}

std::string text_of(const runtime::PersonQuestion& question, const std::string& code) {
  std::string out = fmt::format("   {}{} asks: {}\n", printable(question.tool),
                                for_whom(question.sub_agent), indented(printable(question.text)));
  for (std::size_t i = 0; i < question.choices.size(); ++i) {
    out += fmt::format("   {}. {}\n", i + 1, indented(printable(question.choices[i])));
  }
  const bool has_choices = !question.choices.empty();
  return out + fmt::format("   /answer {} {}\n", code, has_choices ? "NUMBER" : "WORDS");
}

}  // namespace

asio::awaitable<Result<runtime::ApprovalAnswer>> Desk::ask(runtime::ApprovalQuestion question) {
  Question one_of = std::move(question);
  auto answer = co_await wait(std::move(one_of));
  PONDER_CO_CHECK(answer);
  co_return std::get<runtime::ApprovalAnswer>(std::move(*answer));
}

asio::awaitable<Result<std::string>> Desk::answer(runtime::PersonQuestion question) {
  Question one_of = std::move(question);
  auto answer = co_await wait(std::move(one_of));
  PONDER_CO_CHECK(answer);
  co_return std::get<std::string>(std::move(*answer));
}

asio::awaitable<Result<Desk::Answer>> Desk::wait(Question question) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto executor = co_await asio::this_coro::executor;
  const std::string code =
      code_for(std::visit([](const auto& asked) { return asked.digest; }, question));
  const auto here = pending_.emplace(pending_.end(), std::move(question), code, executor);
  show_(std::visit([&](const auto& asked) { return text_of(asked, code); }, here->question));
  auto cancellation = co_await asio::this_coro::cancellation_state;
  while (!here->answer && cancellation.cancelled() == asio::cancellation_type::none) {
    boost::system::error_code ignored;
    co_await here->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  std::optional<Answer> answer = std::move(here->answer);
  pending_.erase(here);
  if (!answer) co_return fail(Errc::cancelled, "the question was withdrawn");
  co_return std::move(*answer);
}

std::string Desk::code_for(const std::string& digest) const {
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

template <class Q>
Result<Desk::Pending*> Desk::find(std::string_view code) {
  for (Pending& pending : pending_) {
    if (pending.code != code || pending.answer) continue;
    if (std::holds_alternative<Q>(pending.question)) return &pending;
    constexpr bool wants_words = std::is_same_v<Q, runtime::PersonQuestion>;
    return fail(Errc::not_found, fmt::format("{} is answered with {}", code,
                                             wants_words ? "/allow or /deny" : "/answer"));
  }
  return fail(Errc::not_found, fmt::format("no question has the code '{}'", code));
}

void Desk::settle(Pending& pending, Answer answer) {
  pending.answer = std::move(answer);
  pending.arrived.cancel();
}

Status Desk::allow(std::string_view words) {
  const std::vector<std::string> list = words_of(words);
  PONDER_TRY(Pending* const pending, find<runtime::ApprovalQuestion>(list.empty() ? "" : list[0]));
  runtime::ApprovalAnswer answer;
  answer.decision = runtime::ApprovalDecision::allow_once;
  if (list.size() > 1) {
    if (list[1] != "always") {
      return fail(Errc::invalid_argument, fmt::format("'{}' is not understood: /allow CODE always "
                                                      "[ARGUMENT...]",
                                                      list[1]));
    }
    answer.decision = runtime::ApprovalDecision::allow_session;
    const auto& question = std::get<runtime::ApprovalQuestion>(pending->question);
    PONDER_TRY(answer.rule, rule_for(question, {list.begin() + 2, list.end()}));
  }
  settle(*pending, std::move(answer));
  return {};
}

Status Desk::deny(std::string_view words) {
  const auto [code, reason] = code_and_rest(words);
  PONDER_TRY(Pending* const pending, find<runtime::ApprovalQuestion>(code));
  runtime::ApprovalAnswer answer;
  answer.reason = reason;
  settle(*pending, std::move(answer));
  return {};
}

Status Desk::reply(std::string_view words) {
  const auto [code, said] = code_and_rest(words);
  PONDER_TRY(Pending* const pending, find<runtime::PersonQuestion>(code));
  const auto& question = std::get<runtime::PersonQuestion>(pending->question);
  PONDER_TRY(std::string answer, runtime::choose_answer(question.choices, said));
  settle(*pending, std::move(answer));
  return {};
}

}  // namespace ponder::cli
