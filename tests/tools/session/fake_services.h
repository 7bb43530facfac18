#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/tool.h"

namespace ponder::tests {

/// What a session does for a call, in memory.
class FakeServices final : public tools::CallServices {
 public:
  boost::asio::awaitable<Result<std::string>> ask(tools::Question question) override {
    questions.push_back(std::move(question));
    co_return answer;
  }
  void progress(std::string_view text, std::optional<double>) override { shown.emplace_back(text); }
  boost::asio::awaitable<Status> note(tools::Note note) override {
    notes.push_back(std::move(note));
    co_return Status();
  }
  std::optional<std::string> value(std::string_view key) const override {
    const auto found = values.find(key);
    if (found == values.end()) return std::nullopt;
    return found->second;
  }
  boost::asio::awaitable<Status> set_value(std::string key,
                                           std::optional<std::string> value) override {
    if (refusal) co_return tl::unexpected<Error>(*refusal);
    if (value) {
      values[std::move(key)] = std::move(*value);
    } else {
      values.erase(key);
    }
    co_return Status();
  }

  Result<std::string> answer = "yes";
  std::optional<Error> refusal;  // of set_value()
  std::vector<tools::Question> questions;
  std::vector<std::string> shown;
  std::vector<tools::Note> notes;
  std::map<std::string, std::string, std::less<>> values;
};

}  // namespace ponder::tests
