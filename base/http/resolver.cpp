#include "base/http/resolver.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/async/timer.h"

namespace ponder::http {
namespace asio = boost::asio;
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

std::optional<asio::ip::address> address_of(const sockaddr* place) {
  if (place->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(place);
    return asio::ip::make_address_v4(ntohl(v4->sin_addr.s_addr));
  }
  if (place->sa_family != AF_INET6) return std::nullopt;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(place);
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), v6->sin6_addr.s6_addr, bytes.size());
  return asio::ip::make_address_v6(bytes, v6->sin6_scope_id);
}

Result<Addresses> ask_system(const std::string& host, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (error == EAI_SYSTEM) return fail(Errc::unavailable, std::generic_category().message(errno));
  if (error != 0) return fail(Errc::unavailable, gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> owner(list);
  Addresses out;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    if (const auto address = address_of(one->ai_addr)) out.push_back(*address);
  }
  return out;
}

bool is_localhost(std::string host) {
  std::transform(host.begin(), host.end(), host.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (host.ends_with('.')) host.pop_back();
  return host == "localhost" || host.ends_with(".localhost");
}

/// The addresses of what nobody needs to be asked about.
std::optional<Addresses> known_addresses(const std::string& host) {
  if (is_localhost(host)) {
    return Addresses{asio::ip::address_v6::loopback(), asio::ip::address_v4::loopback()};
  }
  auto literal = ask_system(host, AI_NUMERICHOST);  // does not block
  if (!literal) return std::nullopt;
  return std::move(*literal);
}

}  // namespace

/// What the resolver, its threads and those who wait share.
///
/// Threads are started when there is work for them and end when there is none, so that at any time
/// those that hang in a look-up are the only ones.
struct Resolver::Pool : std::enable_shared_from_this<Resolver::Pool> {
  /// Somebody who waits. `timer` belongs to the waiter's executor, the answer to `mutex`.
  struct Waiter {
    Waiter(const asio::any_io_executor& executor, Timer& timer)
        : executor(executor), timer(&timer) {}
    asio::any_io_executor executor;
    Timer* timer;  // null: nobody waits any more
    std::optional<Result<Addresses>> answer;
  };
  /// A name that somebody waits for. Without waiters it is nobody's: whoever asks next looks up
  /// anew, for the network may be another by then.
  struct Name {
    std::string host;
    std::vector<std::shared_ptr<Waiter>> waiters;
    bool is_queued = true;
  };

  Pool(LookUp look_up, Options options) : look_up(std::move(look_up)), options(options) {}
  Status join(const std::string& host, std::shared_ptr<Waiter> waiter);
  void leave(const std::string& host, Waiter& waiter);
  /// Requires: the mutex is held.
  Status start_thread();
  void work() noexcept;
  /// The next name; null when the thread is to end.
  std::shared_ptr<Name> next();
  void finish(const std::shared_ptr<Name>& name, const Result<Addresses>& answer);
  Result<Addresses> looked_up(const std::string& host) const noexcept;

  const LookUp look_up;
  const Options options;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Name>> names;  // those with waiters, by host
  std::deque<std::shared_ptr<Name>> queue;
  std::size_t num_threads = 0;
};

/// One who waits for a name: gone from the pool at the end of its scope, so that nothing is posted
/// to an executor whose context may be gone.
class Resolver::Wait {
 public:
  Wait(std::shared_ptr<Pool> pool, std::string host, const asio::any_io_executor& executor,
       Timer& timer)
      : pool_(std::move(pool)),
        host_(std::move(host)),
        waiter_(std::make_shared<Pool::Waiter>(executor, timer)) {}
  ~Wait() {
    waiter_->timer = nullptr;
    pool_->leave(host_, *waiter_);
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  Status begin() { return pool_->join(host_, waiter_); }
  std::optional<Result<Addresses>> take_answer() {
    const std::lock_guard lock(pool_->mutex);
    return std::move(waiter_->answer);
  }

 private:
  std::shared_ptr<Pool> pool_;
  std::string host_;
  std::shared_ptr<Pool::Waiter> waiter_;  // shared with the pool and the handler it posts
};

Status Resolver::Pool::join(const std::string& host, std::shared_ptr<Waiter> waiter) {
  const std::lock_guard lock(mutex);
  auto& name = names[host];
  if (name) {
    name->waiters.push_back(std::move(waiter));
    return {};
  }
  name = std::make_shared<Name>();
  name->host = host;
  name->waiters.push_back(std::move(waiter));
  queue.push_back(name);
  Status started;
  if (num_threads < options.threads_max) {
    started = start_thread();
  } else if (queue.size() > options.names_queued_max) {
    started = fail(Errc::exhausted, "too many names are being looked up");
  }
  if (started) return {};
  queue.pop_back();
  names.erase(host);
  return started;
}

Status Resolver::Pool::start_thread() {
  try {
    // Nobody joins the thread, for it can hang as long as the look-up does. It touches nothing but
    // the pool, which it shares, and so may be ended by the program's exit at any point.
    std::thread([pool = shared_from_this()] { pool->work(); }).detach();
  } catch (const std::system_error& error) {
    if (num_threads > 0) return {};  // one of them comes to it
    return fail(Errc::exhausted, fmt::format("no thread to look it up: {}", error.what()));
  }
  ++num_threads;
  return {};
}

void Resolver::Pool::leave(const std::string& host, Waiter& waiter) {
  const std::lock_guard lock(mutex);
  const auto found = names.find(host);
  if (found == names.end()) return;
  const std::shared_ptr<Name> name = found->second;
  std::erase_if(name->waiters, [&](const auto& one) { return one.get() == &waiter; });
  if (!name->waiters.empty()) return;
  names.erase(found);
  if (name->is_queued) std::erase(queue, name);
}

std::shared_ptr<Resolver::Pool::Name> Resolver::Pool::next() {
  const std::lock_guard lock(mutex);
  if (queue.empty()) {
    --num_threads;
    return nullptr;
  }
  std::shared_ptr<Name> name = std::move(queue.front());
  queue.pop_front();
  name->is_queued = false;
  return name;
}

void Resolver::Pool::work() noexcept {
  while (const std::shared_ptr<Name> name = next()) finish(name, looked_up(name->host));
}

Result<Addresses> Resolver::Pool::looked_up(const std::string& host) const noexcept {
  try {
    return look_up(host);
  } catch (const std::exception& error) {
    return fail(Errc::internal, error.what());
  }
}

void Resolver::Pool::finish(const std::shared_ptr<Name>& name, const Result<Addresses>& answer) {
  const std::lock_guard lock(mutex);
  const auto found = names.find(name->host);
  if (found == names.end() || found->second != name) return;  // too late for everybody
  for (const std::shared_ptr<Waiter>& waiter : name->waiters) {
    waiter->answer = answer;
    // Under the mutex: until the waiter has left, its executor's context is there.
    asio::post(waiter->executor, [waiter] {
      if (waiter->timer != nullptr) waiter->timer->cancel();
    });
  }
  names.erase(found);
}

Resolver::Resolver(LookUp look_up, Options options)
    : pool_(std::make_shared<Pool>(std::move(look_up), options)) {}

asio::awaitable<Result<Addresses>> Resolver::find(std::string host, Deadline deadline) {
  if (auto known = known_addresses(host)) co_return std::move(*known);
  const std::shared_ptr<Pool> pool = pool_;
  const auto executor = co_await asio::this_coro::executor;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) {
    co_return fail(Errc::cancelled, "the look-up was cancelled");
  }
  Timer timer(executor, deadline.at());
  Wait wait(pool, std::move(host), executor, timer);
  const Status begun = wait.begin();
  PONDER_CO_CHECK(begun);
  const bool is_over = co_await timer.wait();
  if (auto answer = wait.take_answer()) co_return std::move(*answer);
  if (is_over) co_return fail(Errc::deadline, "no answer in time");
  co_return fail(Errc::cancelled, "the look-up was cancelled");
}

Result<Addresses> look_up_in_system(const std::string& host) { return ask_system(host, 0); }

Resolver& system_resolver() {
  static Resolver resolver(look_up_in_system);
  return resolver;
}

}  // namespace ponder::http
