#include "tools/code/junit_report.h"

#include <fmt/format.h>
#include <libxml/xmlreader.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/text.h"
#include "tools/files/glob.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kTestsMax = 100'000;
constexpr std::size_t kNameBytesMax = 500;
constexpr std::size_t kDetailBytesMax = 200;
constexpr std::size_t kEntriesMax = 100'000;
constexpr std::size_t kFolderDepthMax = 32;
using State = TestOutcome::State;

struct FreeReader {
  void operator()(xmlTextReader* reader) const noexcept { xmlFreeTextReader(reader); }
};
struct FreeText {
  void operator()(xmlChar* text) const noexcept { xmlFree(text); }
};
using Text = std::unique_ptr<xmlChar, FreeText>;

std::string_view view(const xmlChar* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

/// What libxml2 gives is UTF-8.
std::string cut(std::string_view text, std::size_t bytes_max) {
  return std::string(cut_utf8(text, bytes_max));
}

std::string first_line(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  return cut(text.substr(0, text.find_first_of("\r\n")), kDetailBytesMax);
}

/// Walks through one document.
class JunitReader {
 public:
  Result<std::vector<TestOutcome>> read(std::string_view xml) {
    static std::once_flag once;
    std::call_once(once, xmlInitParser);
    constexpr int kOptions = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    reader_.reset(
        xmlReaderForMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr, kOptions));
    if (!reader_) return fail(Errc::internal, "no memory to read XML");
    xmlTextReaderSetStructuredErrorHandler(reader_.get(), &JunitReader::on_error, this);
    while (true) {
      const int more = xmlTextReaderRead(reader_.get());
      if (more < 0) return fail(Errc::invalid_argument, error_.empty() ? "no XML" : error_);
      if (more == 0) break;
      PONDER_CHECK(take_node());
    }
    if (!has_root_) return fail(Errc::invalid_argument, "an empty document");
    return std::move(tests_);
  }

 private:
  static void on_error(void* self, xmlErrorPtr error) noexcept {
    auto* reader = static_cast<JunitReader*>(self);
    if (error == nullptr || !reader->error_.empty()) return;
    try {
      reader->error_ = fmt::format("line {}: {}", error->line,
                                   error->message == nullptr ? "" : first_line(error->message));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // Without words it is an error all the same.
    }
  }

  Status take_node() {
    const int type = xmlTextReaderNodeType(reader_.get());
    if (type == XML_READER_TYPE_DOCUMENT_TYPE) {
      return fail(Errc::invalid_argument, "a document type is not taken");
    }
    if (type == XML_READER_TYPE_ELEMENT) return begin_element();
    if (type == XML_READER_TYPE_END_ELEMENT) end_element();
    const bool is_text = type == XML_READER_TYPE_TEXT || type == XML_READER_TYPE_CDATA;
    if (is_text && wants_text_) take_text();
    return {};
  }

  Status begin_element() {
    const std::string_view name = view(xmlTextReaderConstLocalName(reader_.get()));
    if (!has_root_ && name != "testsuites" && name != "testsuite") {
      return fail(Errc::invalid_argument,
                  fmt::format("the root is <{}>, not <testsuites> or <testsuite>",
                              cut(name, kDetailBytesMax)));
    }
    has_root_ = true;
    if (name == "testcase") {
      PONDER_CHECK(begin_test());
    } else if (is_in_test_) {
      begin_verdict(name);
    }
    return {};
  }

  Status begin_test() {
    if (tests_.size() >= kTestsMax) return fail(Errc::exhausted, "over 100,000 tests");
    TestOutcome test;
    const std::string class_name = attribute("classname");
    const std::string name = attribute("name");
    const bool is_qualified = class_name.empty() || name.starts_with(class_name);
    test.name = cut(is_qualified ? name : class_name + "." + name, kNameBytesMax);
    // GoogleTest and CTest say it here, too.
    const std::string status = attribute("status");
    if (status == "notrun" || status == "disabled" || status == "skipped") {
      test.state = State::skipped;
    }
    tests_.push_back(std::move(test));
    is_in_test_ = xmlTextReaderIsEmptyElement(reader_.get()) == 0;
    return {};
  }

  void begin_verdict(std::string_view element) {
    TestOutcome& test = tests_.back();
    const bool has_failed = element == "failure" || element == "error";
    if (element == "skipped" && test.state == State::passed) test.state = State::skipped;
    if (!has_failed || test.state == State::failed) return;
    test.state = State::failed;
    test.detail = first_line(attribute("message"));
    if (test.detail.empty()) test.detail = first_line(attribute("type"));
    wants_text_ = attribute("message").empty() && xmlTextReaderIsEmptyElement(reader_.get()) == 0;
  }

  void take_text() {
    const std::string line = first_line(view(xmlTextReaderConstValue(reader_.get())));
    if (line.empty()) return;
    tests_.back().detail = line;
    wants_text_ = false;
  }

  void end_element() {
    const std::string_view name = view(xmlTextReaderConstLocalName(reader_.get()));
    if (name == "testcase") is_in_test_ = false;
    if (name == "failure" || name == "error") wants_text_ = false;
  }

  std::string attribute(const char* name) {
    const Text value(
        xmlTextReaderGetAttribute(reader_.get(), reinterpret_cast<const xmlChar*>(name)));
    return std::string(view(value.get()));
  }

  std::unique_ptr<xmlTextReader, FreeReader> reader_;
  std::vector<TestOutcome> tests_;
  std::string error_;
  bool has_root_ = false;
  bool is_in_test_ = false;
  bool wants_text_ = false;  // of the failure that the reader is in
};

std::optional<ReportFile> look_at(const RootedFolder& folder, const std::string& path) {
  struct stat status = {};
  if (lstat((folder.path() / path).c_str(), &status) != 0) return std::nullopt;
  const std::int64_t ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000;
  return ReportFile{path, status.st_ino, status.st_size, ns + status.st_mtim.tv_nsec};
}

/// The folder that all paths of the pattern lie in: its parts before the first with a wildcard.
std::string fixed_folder(const std::string& glob) {
  const std::size_t wild = glob.find_first_of("*?[\\");
  const std::size_t slash = glob.rfind('/', wild);
  return slash == std::string::npos ? "" : glob.substr(0, slash);
}

/// Looks for files below a folder, also for those that git ignores: reports mostly are.
class ReportFinder {
 public:
  ReportFinder(const RootedFolder& folder, const std::string& glob)
      : folder_(&folder), glob_(&glob) {}

  Status look_into(const std::string& path, std::size_t depth) {
    const auto entries = folder_->list(path.empty() ? "." : path, kEntriesMax);
    if (!entries && entries.error().code == Errc::not_found) return {};
    PONDER_CHECK(entries);
    for (const FileEntry& entry : *entries) {
      if (++num_entries_ > kEntriesMax) {
        return fail(Errc::exhausted,
                    fmt::format("{}: over {} entries; name a folder", *glob_, kEntriesMax));
      }
      const std::string inside = path.empty() ? entry.name : path + "/" + entry.name;
      if (entry.kind == FileEntry::Kind::folder && depth < kFolderDepthMax) {
        PONDER_CHECK(look_into(inside, depth + 1));
      }
      if (entry.kind == FileEntry::Kind::file) {
        PONDER_CHECK(take(inside));
      }
    }
    return {};
  }
  std::vector<ReportFile> found;

 private:
  Status take(const std::string& path) {
    if (!glob_matches(*glob_, path)) return {};
    if (found.size() >= kJunitFilesMax) {
      return fail(Errc::exhausted, fmt::format("{}: over {} files", *glob_, kJunitFilesMax));
    }
    if (auto file = look_at(*folder_, path)) found.push_back(std::move(*file));
    return {};
  }

  const RootedFolder* folder_;
  const std::string* glob_;
  std::size_t num_entries_ = 0;
};

}  // namespace

Result<std::vector<TestOutcome>> read_junit(std::string_view xml) {
  if (xml.size() > kJunitBytesMax) {
    return fail(Errc::exhausted,
                fmt::format("{} bytes, of {} at most", xml.size(), kJunitBytesMax));
  }
  return JunitReader().read(xml);
}

Result<std::vector<ReportFile>> find_reports(const RootedFolder& folder, const std::string& glob) {
  ReportFinder finder(folder, glob);
  PONDER_CHECK(finder.look_into(fixed_folder(glob), 0));
  return std::move(finder.found);
}

TestReport read_reports(const RootedFolder& folder, const std::string& glob,
                        const std::vector<ReportFile>& before, std::vector<std::string>& problems) {
  TestReport report;
  const auto after = find_reports(folder, glob);
  if (!after) {
    problems.push_back(after.error().message);
    return report;
  }
  std::size_t num_new = 0;
  for (const ReportFile& file : *after) {
    if (std::find(before.begin(), before.end(), file) != before.end()) continue;
    ++num_new;
    const auto xml = folder.read(file.path, kJunitBytesMax);
    auto tests = xml ? read_junit(*xml) : tl::unexpected<Error>(xml.error());
    if (!tests) {
      problems.push_back(fmt::format("{}: {}", file.path, tests.error().message));
      continue;
    }
    const std::size_t room = kTestsMax - report.tests.size();
    const auto taken = static_cast<std::ptrdiff_t>(std::min(room, tests->size()));
    report.tests.insert(report.tests.end(), std::make_move_iterator(tests->begin()),
                        std::make_move_iterator(tests->begin() + taken));
  }
  if (num_new == 0) problems.push_back(fmt::format("{}: the run wrote no such file", glob));
  if (!report.tests.empty()) report.runner = "junit";
  return report;
}

}  // namespace ponder::tools
