#include "base/http/resolver.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/http/http_client.h"
#include "tests/runtime/support.h"

namespace ponder::http {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kLongest{60};  // nothing here takes that long unless it hangs

const asio::ip::address kSomewhere = asio::ip::make_address("192.0.2.1");

/// Name servers that answer when they are told to. Shared with the look-ups, which can outlive the
/// test that asked.
class NameServers {
 public:
  /// From now on this name's look-up hangs until release().
  void hold(const std::string& host) {
    const std::lock_guard lock(mutex_);
    held_.insert(host);
  }
  void release() {
    const std::lock_guard lock(mutex_);
    held_.clear();
    changed_.notify_all();
  }
  int times_asked(const std::string& host) {
    const std::lock_guard lock(mutex_);
    return asked_[host];
  }
  void wait_until_asked(const std::string& host, int times) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kLongest, [&] { return asked_[host] >= times; })) << host;
  }
  Result<Addresses> answer(const std::string& host) {
    std::unique_lock lock(mutex_);
    ++asked_[host];
    changed_.notify_all();
    changed_.wait(lock, [&] { return !held_.contains(host); });
    if (host == "nowhere.test") return fail(Errc::unavailable, "Name or service not known");
    return Addresses{address};
  }
  asio::ip::address address = kSomewhere;  // of every name; set before any is asked for

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> held_;
  std::map<std::string, int> asked_;
};

/// One coroutine that asks for a name.
struct Asker {
  std::optional<Result<Addresses>> answer;
  asio::cancellation_signal stop;
};

class ResolverTest : public ::testing::Test {
 protected:
  ~ResolverTest() override { servers_->release(); }

  Resolver resolver_of(std::size_t threads_max, std::size_t names_queued_max = 100) {
    Resolver::Options options;
    options.threads_max = threads_max;
    options.names_queued_max = names_queued_max;
    return Resolver([servers = servers_](const std::string& host) { return servers->answer(host); },
                    options);
  }
  static asio::awaitable<void> ask(Resolver* resolver, std::string host, Deadline deadline,
                                   Asker* asker) {
    co_await asio::this_coro::throw_if_cancelled(false);
    auto found = co_await resolver->find(std::move(host), deadline);
    asker->answer.emplace(std::move(found));
  }
  Asker& start(Resolver& resolver, const std::string& host, Deadline deadline = Deadline::never()) {
    Asker& asker = askers_.emplace_back();
    asio::co_spawn(context_, ask(&resolver, host, deadline, &asker),
                   asio::bind_cancellation_slot(asker.stop.slot(), [](std::exception_ptr error) {
                     if (error) std::rethrow_exception(error);
                   }));
    return asker;
  }
  /// Until the asker has its answer, or nothing is left to do.
  void run_until_answered(const Asker& asker) {
    context_.restart();
    const auto end = steady_clock::now() + kLongest;
    while (!asker.answer && context_.run_one_until(end) > 0) {
    }
    ASSERT_TRUE(asker.answer.has_value());
  }
  void run_what_is_ready() {
    context_.restart();
    context_.poll();
  }

  std::shared_ptr<NameServers> servers_ = std::make_shared<NameServers>();
  std::list<Asker> askers_;  // outlive the context, whose coroutines know them
  asio::io_context context_;
};

TEST_F(ResolverTest, GivesTheAddressesOfAName) {
  Resolver resolver = resolver_of(2);
  Asker& known = start(resolver, "here.test");
  Asker& unknown = start(resolver, "nowhere.test");
  context_.run();
  ASSERT_TRUE(known.answer->has_value());
  EXPECT_THAT(**known.answer, ElementsAre(kSomewhere));
  ASSERT_FALSE(unknown.answer->has_value());
  EXPECT_EQ(unknown.answer->error().code, Errc::unavailable);
}

TEST_F(ResolverTest, AddressesAndLocalhostAreNotLookedUp) {
  Resolver resolver = resolver_of(1);
  const std::map<std::string, std::string> known = {
      {"127.0.0.1", "127.0.0.1"}, {"::1", "::1"},        {"2130706433", "127.0.0.1"},
      {"localhost", "::1"},       {"LocalHost.", "::1"}, {"a.localhost", "::1"}};
  for (const auto& [host, address] : known) {
    Asker& asker = start(resolver, host);
    run_until_answered(asker);
    ASSERT_TRUE(asker.answer->has_value()) << host;
    EXPECT_EQ((*asker.answer)->front().to_string(), address) << host;
    EXPECT_EQ(servers_->times_asked(host), 0) << host;
  }
}

TEST_F(ResolverTest, ACancelledWaiterGoesAtOnce) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  Asker& asker = start(resolver, "dead.test");
  run_what_is_ready();
  servers_->wait_until_asked("dead.test", 1);
  asker.stop.emit(asio::cancellation_type::all);
  run_until_answered(asker);
  EXPECT_EQ(asker.answer->error().code, Errc::cancelled);
}

TEST_F(ResolverTest, AWaiterThatWasCancelledBeforeAsksNobody) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  Asker& asker = start(resolver, "dead.test");
  asker.stop.emit(asio::cancellation_type::all);
  run_until_answered(asker);
  EXPECT_EQ(asker.answer->error().code, Errc::cancelled);
  EXPECT_EQ(servers_->times_asked("dead.test"), 0);
}

TEST_F(ResolverTest, TheDeadlineEndsTheWait) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  Asker& asker = start(resolver, "dead.test", Deadline(steady_clock::now() + milliseconds(50)));
  run_until_answered(asker);
  EXPECT_EQ(asker.answer->error().code, Errc::deadline);
}

TEST_F(ResolverTest, ADeadNameDelaysNoOther) {
  Resolver resolver = resolver_of(2);
  servers_->hold("dead.test");
  Asker& dead = start(resolver, "dead.test");
  Asker& alive = start(resolver, "here.test");
  run_until_answered(alive);
  EXPECT_TRUE(alive.answer->has_value());
  EXPECT_FALSE(dead.answer.has_value());
  servers_->release();
  run_until_answered(dead);
}

TEST_F(ResolverTest, WhoeverAsksForANameThatIsLookedUpWaitsForThatAnswer) {
  Resolver resolver = resolver_of(2);
  servers_->hold("slow.test");
  Asker& first = start(resolver, "slow.test");
  Asker& second = start(resolver, "slow.test");
  Asker& impatient = start(resolver, "slow.test");
  run_what_is_ready();
  servers_->wait_until_asked("slow.test", 1);
  impatient.stop.emit(asio::cancellation_type::all);
  run_until_answered(impatient);
  servers_->release();
  run_until_answered(first);
  run_until_answered(second);
  EXPECT_TRUE(first.answer->has_value() && second.answer->has_value());
  EXPECT_FALSE(impatient.answer->has_value());
  EXPECT_EQ(servers_->times_asked("slow.test"), 1);
}

TEST_F(ResolverTest, ANameThatNobodyWaitsForAnyMoreIsLookedUpAnew) {
  Resolver resolver = resolver_of(2);
  servers_->hold("slow.test");
  Asker& gone = start(resolver, "slow.test");
  run_what_is_ready();
  servers_->wait_until_asked("slow.test", 1);
  gone.stop.emit(asio::cancellation_type::all);
  run_until_answered(gone);
  Asker& next = start(resolver, "slow.test");
  run_what_is_ready();
  servers_->wait_until_asked("slow.test", 2);
  servers_->release();
  run_until_answered(next);
  EXPECT_TRUE(next.answer->has_value());
}

TEST_F(ResolverTest, NamesQueueWhileAllThreadsHangAndKeepTheirDeadline) {
  Resolver resolver = resolver_of(1, 2);
  servers_->hold("dead.test");
  start(resolver, "dead.test");
  run_what_is_ready();
  servers_->wait_until_asked("dead.test", 1);
  Asker& impatient =
      start(resolver, "first.test", Deadline(steady_clock::now() + milliseconds(20)));
  Asker& patient = start(resolver, "second.test");
  Asker& refused = start(resolver, "third.test");
  run_until_answered(impatient);
  EXPECT_EQ(impatient.answer->error().code, Errc::deadline);
  ASSERT_TRUE(refused.answer.has_value());
  EXPECT_EQ(refused.answer->error().code, Errc::exhausted);
  servers_->release();
  run_until_answered(patient);
  EXPECT_TRUE(patient.answer->has_value());
  EXPECT_EQ(servers_->times_asked("first.test"), 0);  // nobody waited for it any more
}

TEST_F(ResolverTest, AnAnswerThatComesAfterEverythingElseIsGoneReachesNobody) {
  servers_->hold("dead.test");
  {
    asio::io_context context;
    Resolver resolver = resolver_of(1);
    Asker asker;
    asio::co_spawn(context, ask(&resolver, "dead.test", Deadline::never(), &asker),
                   [](std::exception_ptr) {});
    context.poll();
    servers_->wait_until_asked("dead.test", 1);
  }
  servers_->release();  // sanitizers see what the thread touches
  Resolver next = resolver_of(1);
  Asker& asker = start(next, "here.test");
  run_until_answered(asker);
}

TEST_F(ResolverTest, AnExceptionOfTheLookUpIsAnError) {
  Resolver resolver([](const std::string&) -> Result<Addresses> { throw std::bad_alloc(); });
  Asker& asker = start(resolver, "here.test");
  run_until_answered(asker);
  EXPECT_EQ(asker.answer->error().code, Errc::internal);
}

TEST_F(ResolverTest, LeavingTheProgramDoesNotWaitForALookUp) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto leave = [] {
    const auto servers = std::make_shared<NameServers>();
    servers->hold("dead.test");
    static Resolver resolver([servers](const std::string& host) { return servers->answer(host); });
    asio::io_context context;
    Asker asker;
    asio::co_spawn(context, ask(&resolver, "dead.test", Deadline::never(), &asker),
                   [](std::exception_ptr) {});
    context.poll();
    servers->wait_until_asked("dead.test", 1);
    std::exit(3);
  };
  EXPECT_EXIT(leave(), ::testing::ExitedWithCode(3), "");
}

/// What a request makes of it.
class LookUpOfARequestTest : public ResolverTest {
 protected:
  Result<Response> send(Resolver& resolver, Deadline deadline, milliseconds connect_ms_max) {
    ClientOptions options;
    options.resolver = &resolver;
    options.connect_ms_max = connect_ms_max;
    auto client = Client::create(std::move(options));
    PONDER_ASSERT(client.has_value());
    Request request("GET", *parse_url("http://dead.test/"));
    request.deadline = deadline;
    BodySink sink = [](const Response&, std::string_view) -> Status { return {}; };
    return runtime::test::run(context_, (*client)->send(std::move(request), std::move(sink)));
  }
  /// Until the name is being looked up.
  void begin(Resolver& resolver, const std::string& url) {
    ClientOptions options;
    options.resolver = &resolver;
    options.connect_ms_max = std::chrono::minutes(10);
    client_ = *Client::create(std::move(options));
    Request request("GET", *parse_url(url));
    BodySink sink = [](const Response&, std::string_view) -> Status { return {}; };
    asio::co_spawn(context_, client_->send(std::move(request), std::move(sink)),
                   asio::bind_cancellation_slot(
                       stop_.slot(), [this](std::exception_ptr error, Result<Response> response) {
                         if (error) std::rethrow_exception(error);
                         answer_.emplace(std::move(response));
                       }));
    run_what_is_ready();
    servers_->wait_until_asked("dead.test", 1);
  }
  void expect_cancelled() {
    context_.restart();
    context_.run();
    ASSERT_TRUE(answer_.has_value());
    ASSERT_FALSE(*answer_);
    EXPECT_EQ(answer_->error().code, Errc::cancelled);
    EXPECT_THAT(answer_->error().message, HasSubstr("cancelled"));
  }

  std::unique_ptr<Client> client_;
  asio::cancellation_signal stop_;
  std::optional<Result<Response>> answer_;
};

TEST_F(LookUpOfARequestTest, ItsDeadlineEndsIt) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  const Deadline deadline(steady_clock::now() + milliseconds(30));
  const auto answer = send(resolver, deadline, kLongest);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::deadline);
}

TEST_F(LookUpOfARequestTest, TheTimeForAConnectionBoundsIt) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  const auto answer = send(resolver, Deadline::never(), milliseconds(30));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_EQ(answer.error().message, "finding dead.test: no answer in time");
}

TEST_F(LookUpOfARequestTest, CancellingItEndsTheLookUp) {
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  begin(resolver, "http://dead.test/");
  stop_.emit(asio::cancellation_type::all);
  expect_cancelled();
}

TEST_F(LookUpOfARequestTest, CancellingItTogetherWithTheAnswerConnectsNowhere) {
  servers_->address = asio::ip::address_v4::loopback();
  asio::ip::tcp::acceptor server(context_, {servers_->address, 0});
  server.non_blocking(true);
  Resolver resolver = resolver_of(1);
  servers_->hold("dead.test");
  begin(resolver, fmt::format("http://dead.test:{}/", server.local_endpoint().port()));
  asio::io_context elsewhere;
  Asker other;
  asio::co_spawn(elsewhere, ask(&resolver, "dead.test", Deadline::never(), &other),
                 [](std::exception_ptr) {});
  elsewhere.poll();
  stop_.emit(asio::cancellation_type::all);
  servers_->release();
  elsewhere.restart();
  elsewhere.run();  // both wait for one look-up: the answer is there when the request goes on
  EXPECT_TRUE(other.answer.has_value());
  expect_cancelled();
  boost::system::error_code none;
  server.accept(none);
  EXPECT_EQ(none, asio::error::would_block);
}

}  // namespace
}  // namespace ponder::http
