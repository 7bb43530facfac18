#pragma once

#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/runtime/fake_server.h"
#include "tests/tools/call_tool.h"
#include "tests/tools/temporary_folder.h"
#include "tests/tools/web/fake_services.h"
#include "tools/web/web_tools.h"

namespace ponder::tests {

/// The machine's clock, which a test can put forward.
class ShiftedClock final : public Clock {
 public:
  Instant now() const override { return system_clock().now() + shift_; }
  std::int64_t unix_ms() const override { return system_clock().unix_ms() + shift_.count(); }
  void advance(std::chrono::milliseconds by) { shift_ += by; }

 private:
  std::chrono::milliseconds shift_{0};
};

/// Calls the web's tools as an agent does, against a server on a real socket of this machine that
/// answers each target with what `pages` holds for it, and 404 otherwise.
class WebTest : public ::testing::Test {
 protected:
  using Exchange = runtime::test::Exchange;

  WebTest() {
    server_ = std::make_unique<runtime::test::FakeServer>([this](const std::string& request) {
      const std::size_t begin = request.find(' ') + 1;
      const std::string target = request.substr(begin, request.find(' ', begin) - begin);
      const auto page = pages_.find(target);
      if (page != pages_.end()) return page->second;
      return Exchange{runtime::test::whole_answer("404 Not Found", "", "nothing")};
    });
    options_.addresses.exempt = {"127.0.0.1"};
  }

  std::string address(const std::string& target = "") const {
    return "http://127.0.0.1:" + std::to_string(server_->port()) + target;
  }
  void put(const std::string& target, const std::string& headers, const std::string& body) {
    pages_[target] = Exchange{runtime::test::whole_answer("200 OK", headers, body)};
  }
  void put_html(const std::string& target, const std::string& body) {
    put(target, "Content-Type: text/html; charset=utf-8\r\n", body);
  }
  void answer(const std::string& target, const std::string& status, const std::string& headers,
              const std::string& body) {
    pages_[target] = Exchange{runtime::test::whole_answer(status, headers, body)};
  }

  tools::ToolOutput call(const std::string& name, const std::string& arguments,
                         std::size_t output_bytes_max = 100'000) {
    if (registry_ == nullptr) {
      registry_ = std::make_unique<tools::Registry>();
      const Status added = add_web_tools(*registry_, options_, pool_.get_executor());
      EXPECT_TRUE(added.has_value()) << added.error().message;
    }
    tools::ToolContext context(clock_, Deadline::never(), output_bytes_max);
    context.services = &services_;
    auto output = run_sync(call_tool(*registry_, {"", name, arguments}, {tools::kWeb}, context));
    EXPECT_TRUE(output.has_value()) << output.error().message;
    return output ? *output : tools::ToolOutput("", true);
  }

  std::map<std::string, Exchange> pages_;  // before the calls that ask for them
  std::unique_ptr<runtime::test::FakeServer> server_;
  boost::asio::thread_pool pool_{1};
  tools::WebOptions options_;
  NoteKeeper services_;
  ShiftedClock clock_;
  std::unique_ptr<tools::Registry> registry_;
};

}  // namespace ponder::tests
