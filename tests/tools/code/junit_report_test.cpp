#include "tools/code/junit_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/tools/temporary_folder.h"

namespace ponder::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = TestOutcome::State;

/// "name state detail" of each test.
std::vector<std::string> lines_of(const std::vector<TestOutcome>& tests) {
  std::vector<std::string> out;
  for (const TestOutcome& test : tests) {
    const char* state = test.state == State::passed   ? "passed"
                        : test.state == State::failed ? "failed"
                                                      : "skipped";
    out.push_back(test.name + " " + state + (test.detail.empty() ? "" : " " + test.detail));
  }
  return out;
}

std::vector<std::string> read(std::string_view xml) {
  const auto tests = read_junit(xml);
  EXPECT_TRUE(tests) << tests.error().message;
  return tests ? lines_of(*tests) : std::vector<std::string>();
}

using Lines = std::vector<std::string>;

TEST(JunitReport, ReadsPytest) {
  EXPECT_EQ(
      read(R"(<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.05">
<testcase classname="tests.test_a" name="test_one" time="0.001" />
<testcase classname="tests.test_a" name="test_two[x-1]">
<failure message="assert 1 == 2">def test_two():
&gt;   assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped type="pytest.skip" message="why"/>
</testcase><testcase classname="" name="tests.test_b"><error message="collection failure">Import
</error></testcase>
</testsuite></testsuites>)"),
      (Lines{"tests.test_a.test_one passed", "tests.test_a.test_two[x-1] failed assert 1 == 2",
             "tests.test_a.test_three skipped", "tests.test_b failed collection failure"}));
}

TEST(JunitReport, ReadsGoogleTestAndCtest) {
  EXPECT_EQ(read(R"(<testsuites tests="3"><testsuite name="Suite">
<testcase name="Adds" file="a.cpp" line="3" status="run" result="completed" classname="Suite"/>
<testcase name="Subtracts" status="run" classname="Suite">
  <failure message="a.cpp:9&#x0A;Expected 1" type=""><![CDATA[a.cpp:9]]></failure>
  <failure message="again" type=""/></testcase>
<testcase name="Later" status="notrun" result="suppressed" classname="Suite"/>
</testsuite></testsuites>)"),
            (Lines{"Suite.Adds passed", "Suite.Subtracts failed a.cpp:9", "Suite.Later skipped"}));
  EXPECT_EQ(read(R"(<testsuite name="Linux" tests="3" failures="1">
<testcase name="base/clock" classname="base/clock" time="0.1" status="run"><system-out>ok
</system-out></testcase>
<testcase name="base/result" classname="base/result" status="fail"><failure message=""/>
<system-out>&lt;failure&gt;</system-out></testcase>
<testcase name="gpu" classname="gpu" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
</testcase></testsuite>)"),
            (Lines{"base/clock passed", "base/result failed", "gpu skipped"}));
}

TEST(JunitReport, ReadsNodeGradleAndNestedSuites) {
  EXPECT_EQ(read(R"(<?xml version="1.0" encoding="utf-8"?><testsuites>
<testcase name="adds" time="0.001" classname="test"/>
<testsuite name="group"><testsuite name="inner">
<testcase name="subtracts" classname="test" failure="bad">
<failure type="testCodeFailure" message="">
  Error [ERR_TEST_FAILURE]: bad
</failure></testcase></testsuite></testsuite></testsuites>)"),
            (Lines{"test.adds passed", "test.subtracts failed Error [ERR_TEST_FAILURE]: bad"}));
  EXPECT_EQ(read(R"(<testsuite><properties><property name="x" value="y"/></properties>
<testcase name="a.B.c" classname="a.B"/>
<testcase name="a.B.c" classname="a.B"><error type="E"/></testcase></testsuite>)"),
            (Lines{"a.B.c passed", "a.B.c failed E"}));
}

TEST(JunitReport, WhatIsLongIsCutBetweenCharacters) {
  const std::string name(499, 'n');
  const std::string detail(199, 'd');
  EXPECT_EQ(read("<testsuite><testcase name=\"" + name + "éé\"><failure message=\"" + detail +
                 "é\"/></testcase></testsuite>"),
            Lines{name + " failed " + detail});
}

void expect_refused(const std::string& xml, Errc code, const char* why) {
  const auto tests = read_junit(xml);
  ASSERT_FALSE(tests) << xml.substr(0, 200);
  EXPECT_EQ(tests.error().code, code) << tests.error().message;
  EXPECT_THAT(tests.error().message, HasSubstr(why));
  EXPECT_EQ(tests.error().message.find('\n'), std::string::npos);
}

TEST(HostileJunit, EntitiesAreNeitherExpandedNorFetched) {
  std::string laughs = "<!DOCTYPE testsuite [<!ENTITY a0 \"ha\">";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "&a" + std::to_string(i - 1) + ";";
    laughs += "<!ENTITY a" + std::to_string(i) + " \"" + before + before + before + "\">";
  }
  const std::string type = "a document type is not taken";
  const Errc invalid = Errc::invalid_argument;
  // The parser may see the loop before we see the type.
  expect_refused(laughs + "]><testsuite><testcase name=\"&a29;\"/></testsuite>", invalid, "");
  expect_refused(
      "<!DOCTYPE t [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><testsuite>"
      "<testcase name=\"a\"><failure>&x;</failure></testcase></testsuite>",
      invalid, type.c_str());
  expect_refused("<!DOCTYPE t SYSTEM \"http://127.0.0.1:1/t.dtd\"><testsuite/>", invalid,
                 type.c_str());
  expect_refused("<!DOCTYPE t [<!ENTITY % p SYSTEM \"http://127.0.0.1:1/\"> %p;]><testsuite/>",
                 invalid, "");
  expect_refused("<testsuite><testcase name=\"a\"><failure>&nope;</failure></testcase></testsuite>",
                 invalid, "line 1: Entity 'nope' not defined");
}

TEST(HostileJunit, ADocumentTypeInAnotherEncodingIsOneAsWell) {
  std::string utf16 = "\xFF\xFE";
  for (const char c : std::string("<!DOCTYPE t [<!ENTITY x \"y\">]><testsuite/>")) {
    utf16 += c;
    utf16 += '\0';
  }
  expect_refused(utf16, Errc::invalid_argument, "a document type is not taken");
}

TEST(HostileJunit, NothingIsIncluded) {
  EXPECT_EQ(read("<testsuite xmlns:xi=\"http://www.w3.org/2001/XInclude\"><testcase name=\"a\">"
                 "<failure><xi:include href=\"/etc/passwd\" parse=\"text\"/></failure></testcase>"
                 "</testsuite>"),
            Lines{"a failed"});
}

TEST(HostileJunit, WhatIsNoReportSaysSoInALine) {
  const Errc invalid = Errc::invalid_argument;
  for (const std::string text :
       {"", " ", "no xml", "<", "<testsuite>", "<testsuite><testcase></testsuite>",
        "<testsuite a='1' a='2'/>", "<testsuite>\xFF\xFE</testsuite>", "<testsuite/><testsuite/>",
        "<testsuite><![CDATA[</testsuite>", "<?xml version=\"1.0\" encoding=\"klingon\"?><x/>"}) {
    expect_refused(text, invalid, "");
  }
  expect_refused(std::string("<testsuite>\0</testsuite>", 24), invalid, "");
  expect_refused("<html><testcase name=\"a\"/></html>", invalid,
                 "the root is <html>, not <testsuites> or <testsuite>");
}

TEST(HostileJunit, DepthNumberAndSizeAreBounded) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<testsuite>";
  expect_refused(deep, Errc::invalid_argument, "line 1: ");
  std::string many = "<testsuite>";
  for (int i = 0; i < 100'001; ++i) many += "<testcase/>";
  expect_refused(many + "</testsuite>", Errc::exhausted, "over 100,000 tests");
  expect_refused(std::string(kJunitBytesMax + 1, ' '), Errc::exhausted, "at most");
  const std::string long_name(8 << 20, 'n');
  EXPECT_EQ(read("<testsuite><testcase name=\"" + long_name + "\"/></testsuite>"),
            Lines{std::string(500, 'n') + " passed"});
}

class ReportFiles : public ::testing::Test {
 protected:
  RootedFolder root() { return *RootedFolder::open(folder_.path()); }
  static std::string suite(const std::string& test) {
    return "<testsuite><testcase name=\"" + test + "\"/></testsuite>";
  }
  tests::TemporaryFolder folder_;
  std::vector<std::string> problems_;
};

TEST_F(ReportFiles, OnlyWhatTheRunWroteCounts) {
  const std::string glob = "build/**/*.xml";
  folder_.write("build/old.xml", suite("stale"));
  folder_.write("build/sub/again.xml", suite("before"));
  const auto before = find_reports(root(), glob);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_EQ(before->size(), 2U);
  std::filesystem::remove(folder_.path() / "build/sub/again.xml");
  folder_.write("build/sub/again.xml", suite("after and longer"));
  folder_.write("build/new.xml", suite("new"));
  folder_.write("build/new.txt", suite("no report"));
  folder_.write("elsewhere.xml", suite("elsewhere"));
  const TestReport report = read_reports(root(), glob, *before, problems_);
  EXPECT_EQ(report.runner, "junit");
  EXPECT_EQ(lines_of(report.tests), (Lines{"new passed", "after and longer passed"}));
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(ReportFiles, AFileThatCannotBeReadIsNamedAndTheOthersCount) {
  folder_.write("a.xml", "<!DOCTYPE x><testsuite/>");
  folder_.write("b.xml", suite("b"));
  const TestReport report = read_reports(root(), "*.xml", {}, problems_);
  EXPECT_EQ(lines_of(report.tests), Lines{"b passed"});
  EXPECT_EQ(problems_, Lines{"a.xml: a document type is not taken"});
}

TEST_F(ReportFiles, ALinkToSomethingOutsideIsNoReport) {
  tests::TemporaryFolder outside;
  outside.write("secret.xml", suite("secret"));
  std::filesystem::create_symlink(outside.path() / "secret.xml", folder_.path() / "a.xml");
  std::filesystem::create_directory_symlink(outside.path(), folder_.path() / "sub");
  const TestReport report = read_reports(root(), "**/*.xml", {}, problems_);
  EXPECT_THAT(report.tests, IsEmpty());
  EXPECT_EQ(problems_, Lines{"**/*.xml: the run wrote no such file"});
}

TEST_F(ReportFiles, APatternThatLeadsOutIsAProblem) {
  const TestReport report = read_reports(root(), "../*.xml", {}, problems_);
  EXPECT_THAT(report.tests, IsEmpty());
  ASSERT_EQ(problems_.size(), 1U);
  EXPECT_THAT(problems_[0], HasSubstr(".."));
}

}  // namespace
}  // namespace ponder::tools
