#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tools/tool.h"

namespace ponder::cli {

/// A session of one call, for whoever sits at the terminal: nothing of it is kept. What tools and
/// servers say is made safe to print.
class TerminalServices final : public tools::CallServices {
 public:
  boost::asio::awaitable<Result<std::string>> ask(tools::Question question) override;
  void progress(std::string_view text, std::optional<double> share) override;
  boost::asio::awaitable<Status> note(tools::Note note) override;
  std::optional<std::string> value(std::string_view key) const override;
  boost::asio::awaitable<Status> set_value(std::string key,
                                           std::optional<std::string> value) override;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace ponder::cli
