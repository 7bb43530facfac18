#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "tests/tools/script/hostile_corpus.h"
#include "tests/tools/script/script_host.h"

namespace ponder::tools {
namespace {

/// Whether a text has one of the parts, which '|' separates.
MATCHER_P(HasOneOf, parts, "has one of \"" + std::string(parts) + "\"") {
  std::istringstream in{std::string(parts)};
  for (std::string part; std::getline(in, part, '|');) {
    if (arg.find(part) != std::string::npos) return true;
  }
  return false;
}

// Sanitizers keep freed memory, and shadows of it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif
#else
constexpr bool kMemoryIsOurs = true;
#endif

/// What a script may take of the host, outside of the 16 MiB that its Lua has here.
constexpr std::int64_t kHostKibMax = 256 << 10;

std::int64_t kib_of(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1));
  }
  return 0;
}

/// How far the resident memory of this process rose above what it was at the beginning.
class MemoryRise {
 public:
  MemoryRise() {
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak is now what is resident
    before_ = kib_of("VmRSS");
  }
  std::int64_t kib() const { return kib_of("VmHWM") - before_; }

 private:
  std::int64_t before_ = 0;
};

/// Each script of the corpus runs beside an honest tool, which must work before and after.
class Hostile : public tests::ScriptHost {
 protected:
  Hostile() {
    options_.memory_bytes_max = 16 << 20;
    options_.instructions_max = 12'000'000;
    options_.time_max = std::chrono::seconds(3);  // said_of() chooses for the corpus
    options_.warm_states = 1;
    time_max_ = std::chrono::minutes(5);
    folder_.write("good.lua", R"(local n = 0
      return { name = 'good', description = 'Counts.', effect = 'pure',
        run = function(args, ctx) n = n + 1 ctx.sleep(0) return 'good ' .. n end })");
  }

  /// What the model reads of a call, or the person of a file that cannot be loaded.
  std::string said_of(const tests::HostileScript& script) {
    // Only what ends at its deadline needs a short one: the other limits must be what is met, on a
    // machine that stands still for seconds too.
    const bool waits = std::string_view(script.expect).find("deadline") != std::string_view::npos;
    options_.time_max = waits ? std::chrono::seconds(3) : std::chrono::minutes(2);
    const std::string body = script.body;
    const bool is_file = body.starts_with("file:");
    folder_.write("probe.lua", is_file ? body.substr(5) : tool(body));
    const Status status = load();
    if (is_file) return status ? "it was loaded" : status.error().message;
    return status ? call() : status.error().message;
  }
};

TEST_F(Hostile, EveryScriptOfTheCorpusEndsInAClearErrorAndHarmsNobody) {
  std::set<std::string> names;
  for (const tests::HostileScript& script : tests::hostile_scripts()) {
    SCOPED_TRACE(script.name);
    EXPECT_TRUE(names.insert(script.name).second);
    const MemoryRise rise;
    const std::string said = said_of(script);
    if (kMemoryIsOurs) {
      EXPECT_LT(rise.kib(), kHostKibMax);
    }
    EXPECT_THAT(said, HasOneOf(script.expect));
    EXPECT_LT(said.size(), 11'000U);
    std::filesystem::remove(folder_.path() / "probe.lua");
    ASSERT_TRUE(load());
    EXPECT_EQ(call("{}", "good"), "good 1");
  }
  EXPECT_GE(names.size(), 60U);
}

TEST_F(Hostile, CallsThatRunBesideAHostileOneAreUnharmed) {
  for (const char* body : {"while true do end", "local t = {} while true do t[#t + 1] = {} end",
                           "while true do ctx.sleep(0) end"}) {
    folder_.write("probe.lua", tool(body));
    ASSERT_TRUE(load());
    boost::asio::io_context io;
    std::vector<std::optional<Result<ToolOutput>>> outputs(5);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      context::ToolCall one;
      one.name = i % 2 == 0 ? "good" : "probe";
      one.arguments = "{}";
      boost::asio::co_spawn(
          io, tests::store_result(tests::call_tool(*registry_, one, {}, context()), &outputs[i]),
          [](std::exception_ptr error) { EXPECT_FALSE(error); });
    }
    io.run();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      ASSERT_TRUE(outputs[i]);
      const bool is_good = i % 2 == 0;
      if (is_good) {
        EXPECT_EQ((*outputs[i])->content, "good 1") << body;
      } else if (*outputs[i]) {
        EXPECT_TRUE((*outputs[i])->is_error) << body;
      } else {
        EXPECT_EQ(outputs[i]->error().code, Errc::deadline) << body;
      }
    }
  }
}

}  // namespace
}  // namespace ponder::tools
