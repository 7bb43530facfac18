#include "runtime/session/log_writer.h"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <iterator>
#include <utility>

#include "base/assert.h"

namespace ponder::runtime {
namespace asio = boost::asio;

/// Events that are written together. Who brings the first of them writes them all.
struct LogWriter::Batch {
  explicit Batch(const asio::any_io_executor& executor)
      : ended(executor, asio::steady_timer::time_point::max()) {}

  /// Requires: the caller holds the batch.
  asio::awaitable<void> end() {
    boost::system::error_code ignored;
    while (!has_ended) {
      co_await ended.async_wait(asio::bind_cancellation_slot(
          asio::cancellation_slot(), asio::redirect_error(asio::use_awaitable, ignored)));
    }
  }

  std::vector<Event> events;
  std::vector<Blob> blobs;
  bool is_written = false;
  bool has_ended = false;
  asio::steady_timer ended;  // never expires; cancelled at the end
};

LogWriter::LogWriter(SessionStore& store, SessionId session, std::int64_t last_seq,
                     std::function<void(const Record&)> take, LogWriter* above)
    : store_(&store),
      session_(std::move(session)),
      last_seq_(last_seq),
      take_(std::move(take)),
      above_(above) {}

const std::optional<Error>& LogWriter::error() const {
  return error_ || above_ == nullptr ? error_ : above_->error();
}

void LogWriter::fail(const Error& error) {
  if (error_) return;
  error_ = error;
  if (above_ != nullptr) above_->fail(error);
}

asio::awaitable<Status> LogWriter::append(std::vector<Event> events, std::vector<Blob> blobs) {
  if (const auto& failed = error()) co_return tl::unexpected<Error>(*failed);
  if (events.empty()) co_return Status();
  const auto executor = co_await asio::this_coro::executor;
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const bool is_first = waiting_ == nullptr;
  if (is_first) waiting_ = std::make_shared<Batch>(executor);
  const std::shared_ptr<Batch> batch = waiting_;
  if (is_first) {
    batch->events = std::move(events);
    batch->blobs = std::move(blobs);
    co_await write(batch);
  } else {
    std::move(events.begin(), events.end(), std::back_inserter(batch->events));
    std::move(blobs.begin(), blobs.end(), std::back_inserter(batch->blobs));
    co_await batch->end();
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  if (batch->is_written) co_return Status();
  const std::optional<Error>& failed = error();
  PONDER_ASSERT(failed);
  co_return tl::unexpected<Error>(*failed);
}

asio::awaitable<void> LogWriter::write(std::shared_ptr<Batch> batch) {
  /// Ends the batch also where the store, or who is told, throws: others wait for it.
  struct BatchEnd {
    BatchEnd(LogWriter& log, Batch& batch) : log(&log), batch(&batch) {}
    BatchEnd(const BatchEnd&) = delete;
    BatchEnd& operator=(const BatchEnd&) = delete;
    ~BatchEnd() {
      if (!is_reached) log->fail(Error(Errc::internal, "the log broke off with an exception"));
      log->writing_.reset();
      batch->has_ended = true;
      batch->ended.cancel();
    }
    LogWriter* log;
    Batch* batch;
    bool is_reached = false;
  };
  const std::shared_ptr<Batch> before = writing_;
  if (before) {
    co_await before->end();
  }
  writing_ = std::exchange(waiting_, nullptr);
  BatchEnd end(*this, *batch);
  if (!error()) {
    auto records = co_await store_->append(session_, last_seq_, std::move(batch->events),
                                           std::move(batch->blobs));
    batch->is_written = records.has_value();
    if (records) {
      last_seq_ = records->back().seq;
      for (const Record& record : *records) take_(record);
    } else {
      fail(records.error());
    }
  }
  end.is_reached = true;
}

}  // namespace ponder::runtime
