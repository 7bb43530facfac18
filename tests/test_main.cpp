#include <gmock/gmock.h>
#include <gtest/gtest.h>

/// The main() of every test program. Where something was skipped and nothing failed it says so to
/// ctest by its exit code (SKIP_RETURN_CODE), which a text in the output cannot do: it would hide
/// the tests beside it that failed.
int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  testing::InitGoogleMock(&argc, argv);
  const int code = RUN_ALL_TESTS();
  if (code != 0) return code;
  return testing::UnitTest::GetInstance()->skipped_test_count() > 0 ? kSkipped : 0;
}
