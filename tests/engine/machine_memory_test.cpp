#include "engine/machine_memory.h"

#include <gtest/gtest.h>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

TEST(MachineMemory, ACacheThatIsToldNoSizeTakesAQuarterOfItOr4GiB) {
  EXPECT_EQ(default_cache_bytes({.total = 8'000, .available = 10}), 2'000U);
  EXPECT_EQ(default_cache_bytes({.total = std::uint64_t{64} << 30}), std::uint64_t{4} << 30);
}

TEST(MachineMemory, IsThere) {
  const MachineMemory memory = machine_memory();
  EXPECT_GT(memory.total, 100'000'000U);
  EXPECT_GT(memory.available, 0U);
  EXPECT_LE(memory.available, memory.total);
}

/// A folder that stands in for the file system: a machine of 1,000 KiB with 900 to spare.
class ControlGroups : public ::testing::Test {
 protected:
  ControlGroups() { write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n"); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_.path() / path).parent_path());
    testing::write_file(root_.path() / path, text);
  }
  void is_in(const std::string& group) { write("proc/self/cgroup", "0::" + group + "\n"); }
  void limit(const std::string& group, const std::string& most, int used, int cached = 0) {
    const std::string dir = "sys/fs/cgroup" + group;
    write(dir + "/memory.max", most + "\n");
    write(dir + "/memory.current", std::to_string(used) + "\n");
    write(dir + "/memory.stat", "anon 7\nfile " + std::to_string(cached) + "\n");
  }
  void expect(std::uint64_t total, std::uint64_t available) {
    const MachineMemory memory = machine_memory(root_.path());
    EXPECT_EQ(memory.total, total);
    EXPECT_EQ(memory.available, available);
  }

  testing::TempDir root_;
};

TEST_F(ControlGroups, AreNotNeeded) { expect(1'024'000, 921'600); }

TEST_F(ControlGroups, TheProcessOwnOneHoldsItBack) {
  is_in("/user.slice/my service.scope");
  limit("/user.slice/my service.scope", "500000", 200'000, 50'000);
  expect(500'000, 350'000);
}

TEST_F(ControlGroups, EachOneAboveHoldsItBackToo) {
  is_in("/a/b/c");
  limit("/a", "600000", 580'000);  // by others, mostly
  limit("/a/b", "max", 570'000);
  limit("/a/b/c", "400000", 100'000);
  expect(400'000, 20'000);
}

TEST_F(ControlGroups, OfOthersDoNotMatter) {
  write("proc/self/cgroup", "4:memory:/other\n1:name=systemd:/other\n0::/mine\n");
  limit("/other", "1000", 0);
  limit("/mine/below", "1000", 0);
  expect(1'024'000, 921'600);
}

TEST_F(ControlGroups, InAContainerTheMountedOneCounts) {
  limit("", "300000", 100'000);
  for (const char* group : {"/", "/docker/not/mounted/here", "/../../elsewhere"}) {
    is_in(group);
    expect(300'000, 200'000);
  }
}

TEST_F(ControlGroups, OneThatHasTakenMoreThanItsLimitHasNothingLeft) {
  is_in("/a");
  limit("/a", "1000", 5'000);
  expect(1'000, 0);
}

}  // namespace
}  // namespace ponder::engine
