#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/tool.h"

namespace ponder::tests {

/// A session that keeps notes and nothing else.
class NoteKeeper final : public tools::CallServices {
 public:
  boost::asio::awaitable<Result<std::string>> ask(tools::Question) override {
    co_return fail(Errc::unavailable, "nobody is here");
  }
  void progress(std::string_view, std::optional<double>) override {}
  boost::asio::awaitable<Status> note(tools::Note note) override {
    notes.push_back(std::move(note));
    co_return Status();
  }
  std::optional<std::string> value(std::string_view) const override { return std::nullopt; }
  boost::asio::awaitable<Status> set_value(std::string, std::optional<std::string>) override {
    co_return fail(Errc::unavailable, "nothing is kept here");
  }

  std::vector<tools::Note> notes;
};

}  // namespace ponder::tests
