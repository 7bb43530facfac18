#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/tidy/rules.h"

namespace ponder::tidy {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool is_checked(const std::string& path) {
  for (const char* skipped : {"build/", ".git/", ".cache/", "tests/tidy/", "scripts/train/run/"})
    if (path.starts_with(skipped)) return false;
  if (path.find("/data/") != std::string::npos || path.find("/seeds/") != std::string::npos)
    return false;
  for (const char* ending : {".h", ".cpp", ".cu", ".cuh", ".md", ".lua", ".py", ".cmake"})
    if (path.ends_with(ending)) return true;
  return path.ends_with("CMakeLists.txt");
}

TEST(Tidy, TheWholeTreeKeepsTheRules) {
  const fs::path root = fs::current_path();
  ASSERT_TRUE(fs::exists(root / "CMakePresets.json")) << "run from the source root";
  std::size_t files = 0;
  std::ostringstream report;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::end(it); ++it) {
    const auto path = fs::relative(it->path(), root).generic_string();
    if (it->is_directory() && (path == "build" || path == ".git")) it.disable_recursion_pending();
    if (!it->is_regular_file() || !is_checked(path)) continue;
    ++files;
    for (const auto& finding : check_file(root, path, read(it->path())))
      report << finding.path << ":" << finding.line << ": " << finding.what << "\n";
  }
  EXPECT_GT(files, 50U);
  EXPECT_EQ(report.str(), "");
}

TEST(TidyIncludes, AnUpwardIncludeIsFound) {
  EXPECT_THAT(check_includes("context/a.cpp", "#include \"engine/engine.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_includes("kernels/a.cpp", "#include \"base/result.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_includes("engine/a.cpp", "#include \"kernels/kernel_table.h\"\n"), IsEmpty());
  EXPECT_THAT(check_includes("runtime/a.cpp", "#include \"tools/detail/x.h\"\n"), SizeIs(1));
}

TEST(TidyIncludes, ARoomOfTheRuntimeKnowsOnlyTheRoomsBelowIt) {
  EXPECT_THAT(check_includes("runtime/session/a.cpp", "#include \"runtime/agent/agent.h\"\n"),
              SizeIs(1));
  EXPECT_THAT(check_includes("runtime/agent/a.cpp", "#include \"runtime/store/x.h\"\n"), SizeIs(1));
  EXPECT_THAT(check_includes("runtime/agent/a.cpp", "#include \"runtime/session/event.h\"\n"),
              IsEmpty());
  EXPECT_THAT(check_includes("runtime/session/a.cpp", "#include \"runtime/text.h\"\n"), IsEmpty());
  EXPECT_THAT(check_includes("runtime/cli/a.cpp", "#include \"runtime/workflow/eval.h\"\n"),
              IsEmpty());
}

TEST(TidyLines, LongLinesTabsAndLeftoversAreFound) {
  EXPECT_THAT(check_lines("base/a.h", std::string(101, 'x') + "\n"), SizeIs(1));
  EXPECT_THAT(check_lines("base/a.h", "\tint x;\n"), SizeIs(1));
  EXPECT_THAT(check_lines("base/a.h", "int x; \n"), SizeIs(1));
  EXPECT_THAT(check_lines("base/a.h",
                          "// TO"
                          "DO: later\n"),
              SizeIs(1));
  EXPECT_THAT(check_lines("base/a.h", std::string(100, 'x') + "\n"), IsEmpty());
}

TEST(TidySizes, LongFilesAndFunctionsAreFound) {
  std::string file;
  for (int i = 0; i < 501; ++i) file += "// x\n";
  EXPECT_THAT(check_sizes("base/a.cpp", file), SizeIs(1));
  std::string function = "int f(int x) {\n";
  for (int i = 0; i < 69; ++i) function += "  ++x;\n";
  function += "}\n";
  EXPECT_THAT(check_sizes("base/a.cpp", function), SizeIs(1));
  EXPECT_THAT(check_sizes("kernels/a.cpp", function), IsEmpty());
}

TEST(TidyBanned, EachBannedCallIsFoundAndItsHomeIsNot) {
  EXPECT_THAT(check_banned("runtime/a.cpp", "co_spawn(ex, f(), asio::detached);\n"), SizeIs(1));
  EXPECT_THAT(check_banned("tests/a.cpp", "std::this_thread::sleep_for(1s);\n"), SizeIs(1));
  EXPECT_THAT(check_banned("context/a.cpp", "auto t = system_clock::now();\n"), SizeIs(1));
  EXPECT_THAT(check_banned("base/clock.cpp", "auto t = system_clock::now();\n"), IsEmpty());
  EXPECT_THAT(check_banned("engine/a.cpp", "// system_clock::now\n"), IsEmpty());
  EXPECT_THAT(check_banned("engine/a.cpp", "auto s = \"getenv(\";\n"), IsEmpty());
}

TEST(TidyCoAwait, MiscompiledFormsAreFound) {
  for (const char* bad :
       {"if (co_await f()) {", "  co_await f({.prompt = s});", "  co_await f(Agg{s});",
        "  co_await f([cap] {});", "  Agg a{s, co_await g()};", "  co_await (b ? f(1) : f(2));",
        "  co_await f(a ? b : c);", "  PONDER_CO_TRY(auto x, co_await f());"})
    EXPECT_THAT(check_co_await("runtime/a.cpp", bad), ::testing::Not(IsEmpty())) << bad;
  for (const char* good : {"  const auto ok = co_await f(a, std::move(b));", "  co_return;",
                           "  co_await timer.async_wait(asio::use_awaitable);"})
    EXPECT_THAT(check_co_await("runtime/a.cpp", good), IsEmpty()) << good;
}

TEST(TidyIsaFiles, StandardLibraryCodeIsFoundAndPlainTypesAreNot) {
  EXPECT_THAT(check_isa_file("kernels/cpu/a.cpp", "auto x = std::max(a, b);\n"), SizeIs(1));
  EXPECT_THAT(check_isa_file("kernels/cpu/a.cpp", "#include <vector>\n"), SizeIs(1));
  EXPECT_THAT(check_isa_file("kernels/cpu/a.cpp", "std::size_t n = 0;\n"), IsEmpty());
}

TEST(TidyLinks, DeadLinksAreFound) {
  EXPECT_THAT(check_links(fs::current_path(), "README.md", "[x](no/such/file.md)\n"), SizeIs(1));
  EXPECT_THAT(check_links(fs::current_path(), "README.md", "[x](https://a.b/c)\n"), IsEmpty());
}

}  // namespace
}  // namespace ponder::tidy
