#include "tools/files/tracked_files.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/tools/files/git_index.h"

namespace ponder::tools {
namespace {

using tests::big_endian;
using tests::index_entry;
using tests::index_of;

TEST(TrackedFiles, KnowsFilesAndTheFoldersAboveThem) {
  const auto tracked = TrackedFiles::parse(index_of({"a", "src/b.c", "src/deep/c.c"}));
  ASSERT_TRUE(tracked.has_value()) << tracked.error().message;
  EXPECT_TRUE(tracked->contains("src/b.c"));
  EXPECT_FALSE(tracked->contains("src"));
  EXPECT_FALSE(tracked->contains("src/b"));
  EXPECT_TRUE(tracked->contains_below("src"));
  EXPECT_TRUE(tracked->contains_below("src/deep"));
  EXPECT_FALSE(tracked->contains_below("a"));
  EXPECT_FALSE(tracked->contains_below("sr"));
  EXPECT_FALSE(TrackedFiles().contains("a"));
}

TEST(TrackedFiles, AStrangersOrderIsNoOrder) {
  const auto tracked = TrackedFiles::parse(index_of({"z", "a", "m/n"}));
  ASSERT_TRUE(tracked.has_value());
  EXPECT_TRUE(tracked->contains("a"));
  EXPECT_TRUE(tracked->contains("z"));
  EXPECT_TRUE(tracked->contains_below("m"));
}

TEST(TrackedFiles, WhatIsCutOffOrDamagedIsNoIndex) {
  const std::string whole = index_of({"a", "src/b.c", std::string(5000 - 1000, 'x')});
  EXPECT_TRUE(TrackedFiles::parse(whole).has_value());
  for (std::size_t bytes = 0; bytes + 20 < whole.size(); ++bytes) {
    const std::string cut(whole, 0, bytes);  // of its own, so that a reader beyond its end is seen
    EXPECT_EQ(TrackedFiles::parse(cut).error().code, Errc::corrupt) << bytes;
  }
  EXPECT_FALSE(TrackedFiles::parse(index_of({""})).has_value()) << "of a split index";
  EXPECT_FALSE(TrackedFiles::parse(index_of({std::string(4097, 'x')})).has_value());
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = whole;
    changed[7] = static_cast<char>(2 + random() % 3);
    for (int j = 0; j < 3; ++j) changed[random() % changed.size()] = static_cast<char>(random());
    (void)TrackedFiles::parse(changed);
  }
}

/// In version 4 a path is told by what it shares with the last one, so that few bytes can be many.
TEST(TrackedFiles, PathsThatGrowOutOfFewBytesAreBounded) {
  constexpr std::uint32_t kCount = 20'000;
  const std::string first(4000, 'x');
  std::string index = "DIRC" + big_endian(4, 4) + big_endian(kCount, 4);
  index += index_entry(first.size()) + std::string(1, '\0') + first + std::string(1, '\0');
  for (std::uint32_t i = 1; i < kCount; ++i) {
    index += index_entry(first.size()) + std::string("\x01y\0", 3);
  }
  ASSERT_LT(index.size(), 2U << 20);
  EXPECT_EQ(TrackedFiles::parse(index).error().code, Errc::exhausted);
}

TEST(TrackedFiles, ANumberThatTakesOffMoreThanThereIsIsDamage) {
  for (const std::string& number :
       {std::string("\x02"), std::string("\xff\xff\xff\xff\xff\x7f"), std::string(64, '\xff')}) {
    std::string index = "DIRC" + big_endian(4, 4) + big_endian(2, 4);
    index += index_entry(1) + std::string("\0a\0", 3);
    index += index_entry(1) + number + std::string("b\0", 2);
    EXPECT_EQ(TrackedFiles::parse(index).error().code, Errc::corrupt);
  }
}

}  // namespace
}  // namespace ponder::tools
