#pragma once

#include "base/http/http_client.h"
#include "tests/simulation/run.h"

namespace ponder::simulation {

/// The way to a remote model and the model behind it: refuses, breaks off, falls silent and sends
/// garbage as the plan says.
class SimulatedEndpoint final : public http::Client {
 public:
  static constexpr std::chrono::milliseconds kIdleMax{20'000};
  explicit SimulatedEndpoint(Run& run) : run_(&run) {}
  boost::asio::awaitable<Result<http::Response>> send(http::Request request,
                                                      http::BodySink sink) override;

 private:
  /// What it streams, in pieces as they arrive.
  std::vector<std::string> pieces();

  Run* run_;
};

}  // namespace ponder::simulation
