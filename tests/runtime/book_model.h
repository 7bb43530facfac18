#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/model/scripted_model.h"

namespace ponder::runtime::test {

/// A model that looks up what to say: by the latest user message or tool result that ends with an
/// entry, and the answers that it has given since. It remembers nothing, so that sessions side by
/// side, and one that goes on after a crash, get the same answers whatever their order.
class BookModel final : public ModelClient {
 public:
  using Book = std::map<std::string, std::vector<ScriptedStep>>;
  explicit BookModel(Book book) : book_(std::move(book)) {}

  std::string description() const override { return "book"; }
  std::string family() const override { return "openai"; }
  std::uint32_t tokens_context_max() const override { return 0; }
  boost::asio::awaitable<Result<Completion>> complete(ModelRequest request,
                                                      ModelSink sink) override;

  /// Every request so far with this entry, oldest first.
  const std::vector<ModelRequest>& requests(const std::string& entry) { return requests_[entry]; }

 private:
  Book book_;
  std::map<std::string, std::vector<ModelRequest>> requests_;
};

}  // namespace ponder::runtime::test
