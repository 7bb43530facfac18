#include "engine/detail/new_files.h"

#include <gtest/gtest.h>

#include "tests/engine/support.h"

namespace ponder::engine::detail {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;
using testing::write_file;

TEST(NewFiles, GoWithTheFoldersThatWereMadeForThem) {
  const TempDir dir;
  const fs::path out = dir.path() / "a" / "b" / "";
  {
    auto files = NewFiles::in(out);
    ASSERT_TRUE(files) << files.error().message;
    write_file(files->begin("x").value(), "1");
    files->begin("never written").value();
    const NewFiles moved = std::move(*files);
    EXPECT_TRUE(fs::exists(out / "x"));
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
  EXPECT_TRUE(fs::exists(dir.path()));
}

TEST(NewFiles, StayWhenTheyAreKept) {
  const TempDir dir;
  {
    auto files = NewFiles::in(dir.path() / "a");
    ASSERT_TRUE(files) << files.error().message;
    write_file(files->begin("x").value(), "1");
    files->keep();
  }
  EXPECT_EQ(testing::read_file(dir.path() / "a" / "x"), "1");
}

TEST(NewFiles, LeaveWhatOthersHavePutThere) {
  const TempDir dir;
  write_file(dir.path() / "theirs", "2");
  fs::create_symlink(dir.path() / "nowhere", dir.path() / "link");
  {
    auto files = NewFiles::in(dir.path() / "a");
    ASSERT_TRUE(files) << files.error().message;
    write_file(files->begin("x").value(), "1");
    write_file(files->dir() / "theirs", "3");
    auto here = NewFiles::in(dir.path());
    ASSERT_TRUE(here) << here.error().message;
    EXPECT_EQ(here->begin("theirs").error().code, Errc::invalid_argument);
    EXPECT_FALSE(here->begin("link").has_value());
  }
  EXPECT_EQ(testing::read_file(dir.path() / "theirs"), "2");
  EXPECT_TRUE(fs::is_symlink(dir.path() / "link"));
  EXPECT_EQ(testing::read_file(dir.path() / "a" / "theirs"), "3");
  EXPECT_FALSE(fs::exists(dir.path() / "a" / "x"));
}

TEST(NewFiles, AFolderThatCannotBeMadeIsNamed) {
  const TempDir dir;
  write_file(dir.path() / "file", "1");
  for (const fs::path& path : {dir.path() / "file", dir.path() / "file" / "a"}) {
    const auto files = NewFiles::in(path);
    ASSERT_FALSE(files);
    EXPECT_EQ(files.error().code, Errc::unavailable);
    EXPECT_NE(files.error().message.find(path.string()), std::string::npos);
  }
  EXPECT_EQ(testing::read_file(dir.path() / "file"), "1");
}

}  // namespace
}  // namespace ponder::engine::detail
