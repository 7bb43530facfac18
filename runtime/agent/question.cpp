#include "runtime/agent/question.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/digest.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace

Result<PersonQuestion> question_of(const tools::Question& question, const std::string& tool,
                                   const std::string& call) {
  PersonQuestion out;
  out.tool = tool;
  out.text = clean_utf8(question.text);
  if (trimmed(out.text).empty() || out.text.size() > kQuestionBytesMax) {
    return fail(Errc::invalid_argument, fmt::format("a question of {} bytes; it has 1 to {}",
                                                    out.text.size(), kQuestionBytesMax));
  }
  if (question.choices.size() > kChoicesMax) {
    return fail(Errc::invalid_argument, fmt::format("a question with {} choices; it has up to {}",
                                                    question.choices.size(), kChoicesMax));
  }
  for (const std::string& choice : question.choices) {
    out.choices.emplace_back(trimmed(clean_utf8(choice)));
    const std::string& clean = out.choices.back();
    if (!clean.empty() && clean.size() <= kChoiceBytesMax) continue;
    return fail(Errc::invalid_argument,
                fmt::format("a choice of {} bytes; it has 1 to {}", clean.size(), kChoiceBytesMax));
  }
  out.digest = sha256_hex(fmt::format("{}\n{}\n{}", call, out.text, fmt::join(out.choices, "\n")));
  return out;
}

Result<std::string> choose_answer(const std::vector<std::string>& choices, std::string_view words) {
  words = trimmed(words);
  if (words.empty()) return fail(Errc::invalid_argument, "an answer needs words");
  if (choices.empty()) return std::string(cut_utf8(clean_utf8(words), kAnswerBytesMax));
  if (std::find(choices.begin(), choices.end(), words) != choices.end()) return std::string(words);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (words == std::to_string(i + 1)) return choices[i];
  }
  return fail(Errc::invalid_argument,
              fmt::format("'{}' is none of: {}", clean_utf8(words), fmt::join(choices, ", ")));
}

QuestionAnswered answer_event(QuestionAnswered event, const PersonQuestion& question,
                              const Result<std::string>& answer) {
  if (answer) {
    const auto chosen = choose_answer(question.choices, *answer);
    event.end = chosen ? QuestionEnd::answered : QuestionEnd::unavailable;
    event.answer = chosen ? *chosen : chosen.error().message;
    return event;
  }
  PONDER_ASSERT(answer.error().code != Errc::cancelled);
  const bool is_late = answer.error().code == Errc::deadline;
  event.end = is_late ? QuestionEnd::expired : QuestionEnd::unavailable;
  event.answer = is_late ? "nobody answered in time" : clean_utf8(answer.error().message);
  return event;
}

Result<std::string> answer_of(const QuestionAnswered& event) {
  if (event.end == QuestionEnd::answered) return event.answer;
  const bool is_late = event.end == QuestionEnd::expired;
  return fail(is_late ? Errc::deadline : Errc::unavailable, event.answer);
}

}  // namespace ponder::runtime
