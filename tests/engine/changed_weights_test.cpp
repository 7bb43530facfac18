// A model file that others write to while its engine reads it in place.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ChangedWeights : public EngineTraffic {
 protected:
  void SetUp() override {
    for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) {
      fs::copy_file(golden_dir() / file, dir_.path() / file);
    }
    // Written to later, it has another time however coarse the file system's clock is.
    fs::last_write_time(weights(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  }

  fs::path weights() const { return dir_.path() / "model.safetensors"; }
  fs::path spill_dir() const { return dir_.path() / "spill"; }

  std::unique_ptr<Engine> open_copy(std::uint64_t copied_bytes_max) {
    EngineOptions options;
    options.num_threads = 2;
    options.copied_bytes_max = copied_bytes_max;
    options.batch_rows_max = 64;
    options.spill_dir = spill_dir();
    auto engine = Engine::open(dir_.path(), options);
    EXPECT_TRUE(engine.has_value()) << engine.error().message;
    return std::move(*engine);
  }

  /// Another byte in the middle; the file keeps its size.
  void overwrite() {
    std::fstream file(weights(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(weights()) / 2));
    file.put('?');
  }

  std::size_t num_spilled() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(spill_dir()), {}));
  }

  testing::TempDir dir_;
};

TEST_F(ChangedWeights, FailTheRequestsUnderWayAndLaterOnesWithTheFilesName) {
  const auto engine = open_copy(0);
  Outcome answering;
  Outcome waiting;
  ASSERT_TRUE(engine->submit(request(prompt(40, 1), 30), into(answering)).has_value());
  while (answering.tokens.size() < 3) engine->step();
  ASSERT_TRUE(engine->submit(request(prompt(50, 2), 30), into(waiting)).has_value());
  overwrite();
  run_all(*engine);
  for (const Outcome* outcome : {&answering, &waiting}) {
    EXPECT_EQ(outcome->reason, FinishReason::failed);
    EXPECT_THAT(outcome->error, HasSubstr("model.safetensors: modified while in use"));
  }
  EXPECT_EQ(answering.tokens.size(), 3U);
  EXPECT_EQ(engine->stats().requests_running, 0U);
  EXPECT_THAT(run(*engine, request(prompt(10, 3), 5)).error, HasSubstr("restart with a complete"));
  // Another engine of the same process is none the worse.
  EXPECT_EQ(run(*open(), request(prompt(10, 3), 5)).reason, FinishReason::length);
}

TEST_F(ChangedWeights, WhatWasComputedFromThemIsKeptNowhere) {
  auto engine = open_copy(0);
  overwrite();
  ASSERT_TRUE(engine->prefill_when_idle(prompt(200, 1)).has_value());
  run_idle(*engine);
  EXPECT_FALSE(engine->has_idle_work());
  EXPECT_EQ(run(*engine, request(prompt(200, 2), 5)).reason, FinishReason::failed);
  EXPECT_EQ(engine->stats().cache_pages_used, 0U);
  engine.reset();
  EXPECT_EQ(num_spilled(), 0U);
}

TEST_F(ChangedWeights, DoNotMatterWhereTheyWereCopied) {
  const auto engine = open_copy(std::uint64_t{1} << 30);
  const Outcome before = run(*engine, request(prompt(40, 1), 5));
  overwrite();
  const Outcome after = run(*engine, request(prompt(40, 1), 5));
  EXPECT_EQ(after.reason, FinishReason::length);
  EXPECT_EQ(after.tokens, before.tokens);
}

TEST_F(ChangedWeights, AFileThatIsReplacedByNameDoesNotMatter) {
  const auto engine = open_copy(0);
  const Outcome before = run(*engine, request(prompt(40, 1), 5));
  testing::write_file(dir_.path() / "new", "something else");
  fs::rename(dir_.path() / "new", weights());
  EXPECT_EQ(run(*engine, request(prompt(40, 1), 5)).tokens, before.tokens);
}

}  // namespace
}  // namespace ponder::engine
