#include "engine/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

TEST(MappedFile, SaysWhichFileIsMissing) {
  const auto file = MappedFile::open("/nonexistent/model.safetensors");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Errc::not_found);
  EXPECT_EQ(file.error().message,
            "/nonexistent/model.safetensors: cannot open: No such file or directory");
  EXPECT_THAT(MappedFile::open("/").error().message, HasSubstr("/: not a regular file"));
}

TEST(MappedFile, APipeIsRefusedAndNotWaitedFor) {
  const testing::TempDir dir;
  ASSERT_EQ(::mkfifo((dir.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::open(dir.path() / "pipe").error().message,
              HasSubstr("not a regular file"));
}

TEST(MappedFile, MovesItsMapping) {
  const testing::TempDir dir;
  testing::write_file(dir.path() / "f", "hello");
  auto first = MappedFile::open(dir.path() / "f");
  ASSERT_TRUE(first);
  const MappedFile second = std::move(*first);
  EXPECT_EQ(second.bytes().size(), 5U);
  EXPECT_EQ(static_cast<char>(second.bytes()[4]), 'o');
  testing::write_file(dir.path() / "empty", "");
  EXPECT_TRUE(MappedFile::open(dir.path() / "empty")->bytes().empty());
}

std::size_t count(const MappedFile& file, char wanted) {
  return static_cast<std::size_t>(std::ranges::count(file.bytes(), static_cast<std::byte>(wanted)));
}

TEST(MappedFile, ATruncatedFileReadsAsZerosAndSaysSoInsteadOfKilling) {
  const testing::TempDir dir;
  const fs::path path = dir.path() / "f";
  const std::size_t size = 64 * 4096;
  testing::write_file(path, std::string(size, 'x'));
  testing::write_file(dir.path() / "other", "other");
  const auto file = MappedFile::open(path);
  const auto other = MappedFile::open(dir.path() / "other");
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->check_unchanged());
  ASSERT_EQ(::truncate(path.c_str(), size / 4), 0);
  EXPECT_EQ(count(*file, 'x'), size / 4);
  EXPECT_EQ(count(*file, '\0'), size - size / 4);
  const Status status = file->check_unchanged();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::corrupt);
  EXPECT_EQ(status.error().message, path.string() +
                                        ": parts could not be read while in use; "
                                        "restart with a complete file");
  EXPECT_TRUE(other->check_unchanged());
}

TEST(MappedFile, NoticesAFileThatWasWrittenTo) {
  const testing::TempDir dir;
  const fs::path path = dir.path() / "f";
  testing::write_file(path, "before");
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  testing::write_file(path, "longer than before");
  EXPECT_THAT(file->check_unchanged().error().message, HasSubstr("another size while in use"));
  testing::write_file(path, "behind");
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_THAT(file->check_unchanged().error().message, HasSubstr("modified while in use"));
}

TEST(MappedFile, AFileReplacedByNameIsStillTheOldOne) {
  const testing::TempDir dir;
  const fs::path path = dir.path() / "f";
  testing::write_file(path, "old");
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  testing::write_file(dir.path() / "new", "new");
  fs::rename(dir.path() / "new", path);
  EXPECT_EQ(count(*file, 'o'), 1U);
  EXPECT_TRUE(file->check_unchanged());
}

}  // namespace
}  // namespace ponder::engine
