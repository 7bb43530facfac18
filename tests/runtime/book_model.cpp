#include "tests/runtime/book_model.h"

#include <utility>

namespace ponder::runtime::test {
namespace {

/// The entry with whose words a message that the model was told ends.
const std::string* entry_in(const BookModel::Book& book, const context::Message& message) {
  if (message.role == context::Role::assistant || message.role == context::Role::system) {
    return nullptr;
  }
  for (const auto& [entry, steps] : book) {
    if (message.content.ends_with(entry)) return &entry;
  }
  return nullptr;
}

}  // namespace

boost::asio::awaitable<Result<Completion>> BookModel::complete(ModelRequest request,
                                                               ModelSink sink) {
  const std::string* entry = nullptr;
  std::size_t answered = 0;
  for (const context::Message& message : request.conversation) {
    if (const std::string* found = entry_in(book_, message)) {
      entry = found;
      answered = 0;
    } else if (message.role == context::Role::assistant) {
      ++answered;
    }
  }
  if (entry == nullptr || answered >= book_.at(*entry).size()) {
    co_return fail(Errc::exhausted, "the book has no answer");
  }
  requests_[*entry].push_back(request);
  std::vector<ScriptedStep> step(1, book_.at(*entry)[answered]);
  ScriptedModel model(std::move(step));
  auto completion = co_await model.complete(std::move(request), std::move(sink));
  co_return completion;
}

}  // namespace ponder::runtime::test
