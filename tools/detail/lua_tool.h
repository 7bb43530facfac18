#pragma once

#include <memory>

#include "tools/detail/environment_host.h"

namespace ponder::tools {

/// One tool of an environment. Runs on the environment's strand, so calls of one environment queue
/// while the caller's coroutines go on.
class LuaTool final : public Tool {
 public:
  LuaTool(std::shared_ptr<Environment::Host> host, std::size_t index)
      : host_(std::move(host)), index_(index) {}

  const context::ToolSpec& spec() const override { return host_->tools()[index_].spec; }
  Effect effect() const override { return host_->tools()[index_].effect; }
  const std::vector<std::string>& capabilities() const override {
    return host_->tools()[index_].capabilities;
  }
  boost::asio::awaitable<Result<ToolOutput>> invoke(std::string arguments,
                                                    ToolContext context) override;
  bool has_values() const override { return host_->tools()[index_].has_values; }
  boost::asio::awaitable<Result<std::vector<ParameterValues>>> values(ToolContext context) override;

 private:
  std::shared_ptr<Environment::Host> host_;  // shared with the environment and its other tools
  std::size_t index_;
};

}  // namespace ponder::tools
