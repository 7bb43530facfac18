#pragma once

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/async/with_deadline.h"
#include "runtime/model/remote_model.h"
#include "tests/runtime/fake_server.h"
#include "tests/runtime/support.h"

namespace ponder::runtime {

/// The stream of an answer that says hello.
inline const std::string kHello =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"hello\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: [DONE]\n\n";

/// A model behind an endpoint of our own on a loopback socket.
class RemoteModelTest : public ::testing::Test {
 protected:
  RemoteModelTest() {
    options_.model = "big-model";
    options_.api_key = "secret-key";
    options_.backoff_ms_min = std::chrono::milliseconds(1);
    options_.backoff_ms_max = std::chrono::milliseconds(4);
  }

  void serve(std::vector<test::Exchange> exchanges) {
    server_ = std::make_unique<test::FakeServer>(std::move(exchanges));
    options_.base_url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/v1";
  }

  static ModelRequest question() {
    context::Message system;
    system.role = context::Role::system;
    system.content = "be brief";
    system.tools = {{"look", "looks", R"({"type": "object", "properties": {}})"}};
    context::Message user;
    user.content = "hi";
    return ModelRequest(context::Conversation{system, user}, "openai", Sampling(), 100);
  }

  Result<Completion> ask(ModelRequest request = question()) {
    auto model = RemoteModel::create(options_);
    PONDER_ASSERT(model.has_value());
    ModelSink sink = [this](const ModelDelta& delta) { deltas_.push_back(delta); };
    const Deadline deadline = request.deadline;
    auto work = (*model)->complete(std::move(request), sink);
    return test::run(context_, with_deadline(std::move(work), deadline));
  }

  std::string told(ModelDelta::Kind kind) const {
    std::string out;
    for (const auto& delta : deltas_) {
      if (delta.kind == kind) out += delta.text;
    }
    return out;
  }

  boost::asio::io_context context_;
  RemoteOptions options_;
  std::unique_ptr<test::FakeServer> server_;
  std::vector<ModelDelta> deltas_;
};

}  // namespace ponder::runtime
