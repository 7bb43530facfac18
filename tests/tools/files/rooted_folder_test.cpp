#include "tools/files/rooted_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/tools/temporary_folder.h"

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMax = 1 << 20;

class RootedFolderTest : public testing::Test {
 protected:
  RootedFolderTest() {
    base_.write("secret", "a secret");
    base_.write("root/file", "content");
    base_.write("root/folder/inner", "inside");
    root_.emplace(*RootedFolder::open(base_.path() / "root"));
  }
  Errc code_of(const std::string& path) {
    const auto content = root_->read(path, kMax);
    return content ? Errc::internal : content.error().code;
  }

  tests::TemporaryFolder base_;
  std::optional<RootedFolder> root_;
};

TEST_F(RootedFolderTest, ReadsAndWritesInside) {
  EXPECT_EQ(*root_->read("file", kMax), "content");
  EXPECT_EQ(*root_->read("./folder/../file", kMax), "content");
  ASSERT_TRUE(root_->write("new/deep/er", "text").has_value());
  EXPECT_EQ(base_.read("root/new/deep/er"), "text");
}

TEST_F(RootedFolderTest, PathsThatLeadOutNameNothing) {
  fs::create_symlink(base_.path() / "secret", base_.path() / "root/absolute");
  fs::create_symlink("../secret", base_.path() / "root/relative");
  fs::create_directory_symlink("..", base_.path() / "root/up");
  for (const char* path : {"../secret", "folder/../../secret", "absolute", "relative", "up/secret",
                           "/etc/passwd", "/proc/self/environ"}) {
    SCOPED_TRACE(path);
    EXPECT_EQ(code_of(path), Errc::invalid_argument);
    EXPECT_FALSE(root_->exists(path));
    const std::string target = path;
    if (target != "absolute" && target != "relative") {
      EXPECT_FALSE(root_->write(path, "x").has_value());
      EXPECT_FALSE(root_->remove(path).has_value());
    }
  }
  EXPECT_EQ(base_.read("secret"), "a secret");
}

TEST_F(RootedFolderTest, TheRootOfTheMachineIsNotTheFolder) {
  EXPECT_EQ(root_->write("/new", "x").error().message, "/new: leads out of the folder");
  EXPECT_FALSE(root_->remove("/file").has_value());
  EXPECT_EQ(*root_->read("file", kMax), "content");
}

TEST_F(RootedFolderTest, APathIsNotCutAtAZeroByte) {
  const std::string path("file\0.txt", 9);
  EXPECT_EQ(code_of(path), Errc::invalid_argument);
  EXPECT_FALSE(root_->exists(path));
  EXPECT_FALSE(root_->list(std::string("folder\0x", 8), 10).has_value());
  EXPECT_FALSE(root_->write(path, "x").has_value());
}

TEST_F(RootedFolderTest, WritingReplacesALinkAndLeavesWhatItPointedTo) {
  fs::create_symlink(base_.path() / "secret", base_.path() / "root/link");
  ASSERT_TRUE(root_->write("link", "mine").has_value());
  EXPECT_EQ(base_.read("secret"), "a secret");
  EXPECT_EQ(base_.read("root/link"), "mine");
  EXPECT_FALSE(fs::is_symlink(base_.path() / "root/link"));
}

TEST_F(RootedFolderTest, FollowsLinksThatStayInside) {
  fs::create_symlink("folder/inner", base_.path() / "root/link");
  EXPECT_EQ(*root_->read("link", kMax), "inside");
}

TEST_F(RootedFolderTest, ALinkThatIsSwappedWhileWeLookLeadsNowhere) {
  const fs::path name = base_.path() / "root/swapped";
  base_.write("outside/inner", "a secret");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop) {
      std::error_code ignored;
      fs::create_directory_symlink(base_.path() / "outside", name, ignored);
      fs::remove(name, ignored);
      fs::create_directory(name, ignored);
      std::ofstream(name / "inner") << "inside";
      fs::remove_all(name, ignored);
    }
  });
  int read = 0;
  for (int i = 0; i < 20'000 || read == 0; ++i) {
    const auto content = root_->read("swapped/inner", kMax);
    if (!content) continue;
    ++read;
    EXPECT_NE(*content, "a secret");
  }
  stop = true;
  swapper.join();
  EXPECT_GT(read, 0) << "the folder was there now and then";
}

TEST_F(RootedFolderTest, GitsOwnFilesAreReadAndNotWritten) {
  base_.write("root/.git/config", "[core]");
  fs::create_directory_symlink(".git", base_.path() / "root/innocent");
  EXPECT_EQ(*root_->read(".git/config", kMax), "[core]");
  for (const char* path : {".git/config", ".git/hooks/pre-commit", "folder/.git", "folder/.git/x",
                           "innocent/config", "innocent/hooks/pre-commit", ".git"}) {
    SCOPED_TRACE(path);
    const Status written = root_->write(path, "x");
    ASSERT_FALSE(written.has_value());
    EXPECT_EQ(written.error().code, Errc::invalid_argument);
    EXPECT_FALSE(root_->remove(path).has_value());
  }
  EXPECT_EQ(base_.read("root/.git/config"), "[core]");
  EXPECT_FALSE(fs::exists(base_.path() / "root/folder/.git"));
}

TEST_F(RootedFolderTest, AFolderThatIsARepositoryIsNeitherChangedNorCompleted) {
  for (const char* file : {"bare/HEAD", "bare/objects/a", "bare/refs/b", "bare/config",
                           "linked/commondir", "almost/objects/a", "almost/HEAD"}) {
    base_.write(std::string("root/") + file, "as it was");
  }
  for (const char* path : {"bare/config", "bare/hooks/post-update", "bare/objects/a", "bare/HEAD",
                           "linked/HEAD", "almost/refs", "almost/refs/heads/main"}) {
    SCOPED_TRACE(path);
    const Status written = root_->write(path, "x");
    ASSERT_FALSE(written.has_value());
    EXPECT_EQ(written.error().code, Errc::invalid_argument);
  }
  EXPECT_EQ(base_.read("root/bare/config"), "as it was");
  EXPECT_FALSE(fs::exists(base_.path() / "root/almost/refs"));
  EXPECT_TRUE(root_->write("almost/objects/b", "x").has_value());
  EXPECT_TRUE(root_->write("HEAD", "x").has_value());
}

TEST_F(RootedFolderTest, RefusesWhatIsNoOrdinaryFile) {
  ASSERT_EQ(mkfifo((base_.path() / "root/pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of("pipe"), Errc::invalid_argument);
  EXPECT_EQ(code_of("folder"), Errc::invalid_argument);
  EXPECT_EQ(code_of("none"), Errc::not_found);
  EXPECT_EQ(code_of("file/x"), Errc::invalid_argument);
  EXPECT_FALSE(root_->write("folder", "x").has_value());
  EXPECT_FALSE(root_->write("..", "x").has_value());
  EXPECT_FALSE(root_->write("x/", "x").has_value());
  EXPECT_FALSE(root_->write("", "x").has_value());
  EXPECT_FALSE(root_->write(std::string("a\0b", 3), "x").has_value());
}

TEST_F(RootedFolderTest, BoundsWhatItReadsAndLists) {
  const auto content = root_->read("file", 6);
  ASSERT_FALSE(content.has_value());
  EXPECT_EQ(content.error().message, "file: has over 6 bytes");
  EXPECT_EQ(root_->list(".", 1).error().code, Errc::exhausted);
  const auto entries = root_->list(".", 10);
  ASSERT_TRUE(entries.has_value());
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].name, "file");
  EXPECT_EQ((*entries)[0].bytes, 7U);
  EXPECT_EQ((*entries)[1].kind, FileEntry::Kind::folder);
}

TEST_F(RootedFolderTest, KeepsAFilesModeAndLeavesNoDraftBehind) {
  const fs::path script = base_.path() / "root/script";
  base_.write("root/script", "x");
  fs::permissions(script, static_cast<fs::perms>(0755));
  ASSERT_TRUE(root_->write("script", "y").has_value());
  EXPECT_EQ(fs::status(script).permissions(), static_cast<fs::perms>(0755));
  EXPECT_EQ(root_->list(".", 100)->size(), 3U);
}

}  // namespace
}  // namespace ponder::tools
