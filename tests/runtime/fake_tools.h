#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/registry.h"
#include "tools/tool.h"

namespace ponder::runtime::test {

/// A tool whose work is given by the test. It notes when it begins and ends.
class FakeTool final : public tools::Tool {
 public:
  using Work = std::function<boost::asio::awaitable<Result<tools::ToolOutput>>(std::string)>;

  FakeTool(std::string name, tools::Effect effect, Work work, std::vector<std::string>* journal,
           std::vector<std::string> capabilities = {});
  void set_parameters(std::string schema) { spec_.parameters = std::move(schema); }
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return effect_; }
  const std::vector<std::string>& capabilities() const override { return capabilities_; }
  std::uint32_t concurrency_max() const override { return concurrency_max_; }
  void limit_concurrency(std::uint32_t max) { concurrency_max_ = max; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;
  bool has_values() const override { return knows != nullptr; }
  boost::asio::awaitable<Result<std::vector<tools::ParameterValues>>> values(
      tools::ToolContext context) override;
  /// What it says its parameters can be; may be empty.
  using Knows =
      std::function<boost::asio::awaitable<Result<std::vector<tools::ParameterValues>>>()>;
  Knows knows;
  /// The idempotency key of each call so far.
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  context::ToolSpec spec_;
  tools::Effect effect_;
  Work work_;
  std::vector<std::string>* journal_;
  std::vector<std::string> capabilities_;
  std::vector<std::string> keys_;
  std::uint32_t concurrency_max_ = 0;
};

/// What a tool may say about its parameters.
using SaidValues = Result<std::vector<tools::ParameterValues>>;
boost::asio::awaitable<SaidValues> say(SaidValues values);

/// Kinds of work.
boost::asio::awaitable<Result<tools::ToolOutput>> echo(std::string arguments);
boost::asio::awaitable<Result<tools::ToolOutput>> hang(std::string arguments);
boost::asio::awaitable<Result<tools::ToolOutput>> throws(std::string arguments);
boost::asio::awaitable<Result<tools::ToolOutput>> answer_after(std::chrono::milliseconds delay,
                                                               std::string answer, bool is_error);
/// Answers once something has come about, however long that takes.
boost::asio::awaitable<Result<tools::ToolOutput>> answer_when(std::function<bool()> has_come,
                                                              std::string answer);

}  // namespace ponder::runtime::test
