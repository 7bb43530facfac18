#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/code/test_report.h"
#include "tools/files/rooted_folder.h"

/// Test results in the XML that JUnit began and most runners can write.
namespace ponder::tools {

inline constexpr std::size_t kJunitBytesMax = std::size_t{16} << 20;  // of one file
inline constexpr std::size_t kJunitFilesMax = 500;

/// The tests of one file, in its order: of each <testcase> the class and the name, the state, and
/// the first line of what is said about a failure. What else stands there is skipped, so that the
/// dialects of JUnit, pytest, CTest, GoogleTest, Gradle, Maven, Jest and others are read alike.
///
/// The text is not trusted. A document type is refused, and with it every entity; nothing outside
/// is read. `exhausted` above kJunitBytesMax or 100,000 tests; `invalid_argument` for what is no
/// well-formed XML, nests more than 256 deep or has another root.
Result<std::vector<TestOutcome>> read_junit(std::string_view xml);

/// A report file as it lies there: when two of these are equal, nobody has written it meanwhile.
struct ReportFile {
  std::string path;  // in the folder
  std::uint64_t inode = 0;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const ReportFile&) const = default;
};

/// The files that a pattern names (tools/files/glob.h; relative to the folder). Blocks.
/// `exhausted` over kJunitFilesMax, or when the folders to look through hold over 100,000 entries.
Result<std::vector<ReportFile>> find_reports(const RootedFolder& folder, const std::string& glob);

/// What a run of tests wrote: the files that are not as they were `before`, which the pattern
/// names. `problems` gets a line for each that could not be read. Blocks.
TestReport read_reports(const RootedFolder& folder, const std::string& glob,
                        const std::vector<ReportFile>& before, std::vector<std::string>& problems);

}  // namespace ponder::tools
