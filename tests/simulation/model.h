#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context/chat_format.h"
#include "runtime/model/model_client.h"
#include "tests/simulation/run.h"

namespace ponder::simulation {

struct Draft;

/// A model in its place, for one session: what it is asked, the witness sees.
class SimulatedModel final : public runtime::ModelClient {
 public:
  enum class Kind {
    plain,  // hands over completions
    dsv32,  // makes prompts of tokens, one for each byte, and samples such
    dsv4,
    remote,  // the product's client over a simulated endpoint
  };
  SimulatedModel(Run& run, Kind kind);

  std::string description() const override;
  std::string family() const override;
  std::uint32_t tokens_context_max() const override;
  std::string vocabulary() const override;
  context::TokenizeFn tokenizer() const override;
  boost::asio::awaitable<Result<runtime::Completion>> complete(runtime::ModelRequest request,
                                                               runtime::ModelSink sink) override;

  /// The next event of the session or of a sub-agent's, after which prompts begin anew or go on.
  void saw(const SessionFacts& session, const runtime::Event& event);

 private:
  /// The prompts of one session.
  struct Prompts {
    std::vector<context::TokenId> latest;
    /// The latest and what was sampled from it: the next prompt of the turn begins like this.
    std::vector<context::TokenId> path;
  };
  /// `asker` is nullptr for a summary.
  boost::asio::awaitable<Result<runtime::Completion>> think(const SessionFacts* asker,
                                                            runtime::ModelRequest request,
                                                            runtime::ModelSink sink);
  Result<runtime::Completion> answer(const SessionFacts* asker,
                                     const runtime::ModelRequest& request,
                                     const runtime::ModelSink& sink);
  Result<runtime::Completion> sample(const SessionFacts* asker, const Draft& draft,
                                     const runtime::ModelRequest& request);
  void check_goes_on(const SessionFacts& asker, const std::vector<context::TokenId>& prompt);

  Run* run_;
  Kind kind_;
  const context::ChatFormat* format_ = nullptr;  // of those that make prompts
  std::unique_ptr<runtime::ModelClient> remote_;
  std::map<std::size_t, Prompts> prompts_;  // by the session's number
};

}  // namespace ponder::simulation
