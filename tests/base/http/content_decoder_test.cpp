#include "base/http/content_decoder.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/base/http/compress.h"

namespace ponder::http {
namespace {

using test::compressed;
using test::kGzip;
using test::kRaw;
using test::kZlib;

Result<std::string> decode(const char* encoding, std::string_view bytes, std::size_t step) {
  PONDER_TRY(auto decoder, ContentDecoder::create(encoding));
  std::string out;
  const auto take = [&out](std::string_view piece) -> Status {
    out += piece;
    return {};
  };
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    PONDER_CHECK(decoder.feed(bytes.substr(at, step), take));
  }
  PONDER_CHECK(decoder.finish());
  return out;
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i * i);
  return text;
}

TEST(ContentDecoder, EachEncodingGivesTheTextBackHoweverItsBytesAreSplit) {
  const std::string text = long_text();
  const std::pair<const char*, std::string> cases[] = {{"gzip", compressed(text, kGzip)},
                                                       {"X-GZIP", compressed(text, kGzip)},
                                                       {"deflate", compressed(text, kZlib)},
                                                       {"deflate", compressed(text, kRaw)},
                                                       {"identity", text},
                                                       {"", text}};
  for (const auto& [encoding, bytes] : cases) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{100'000}}) {
      const auto out = decode(encoding, bytes, step);
      ASSERT_TRUE(out) << encoding << ": " << out.error().message;
      EXPECT_EQ(*out, text) << encoding << " in steps of " << step;
    }
  }
}

TEST(ContentDecoder, MembersOfAGzipFileFollowEachOtherAndPaddingDoesNotMatter) {
  const std::string two = compressed("one ", kGzip) + compressed("two", kGzip);
  EXPECT_EQ(*decode("gzip", two, 1), "one two");
  EXPECT_EQ(*decode("gzip", two, 1000), "one two");
  EXPECT_EQ(*decode("gzip", two + std::string(20, '\0'), 1000), "one two");
}

TEST(ContentDecoder, AnEmptyBodyIsEmptyWhateverItsEncoding) {
  EXPECT_EQ(*decode("gzip", "", 1), "");
  EXPECT_EQ(*decode("deflate", "", 1), "");
}

TEST(ContentDecoder, DamageAndMissingEndsAreErrors) {
  std::string bytes = compressed(long_text(), kGzip);
  const auto cut = decode("gzip", std::string_view(bytes).substr(0, bytes.size() / 2), 4096);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::unavailable);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
  const auto damaged = decode("gzip", bytes, 4096);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Errc::corrupt);
  EXPECT_FALSE(decode("gzip", "this is no gzip", 4096));
}

TEST(ContentDecoder, UnknownAndStackedEncodingsAreRefused) {
  for (const char* encoding : {"br", "zstd", "gzip, gzip", "compress"}) {
    const auto decoder = ContentDecoder::create(encoding);
    ASSERT_FALSE(decoder) << encoding;
    EXPECT_EQ(decoder.error().code, Errc::invalid_argument);
  }
}

TEST(ContentDecoder, ABombStopsWhenItsReaderHasEnough) {
  const std::string bomb = compressed(std::string(64 << 20, 'x'), kGzip);
  ASSERT_LT(bomb.size(), 100'000U);
  auto decoder = ContentDecoder::create("gzip");
  std::size_t seen = 0;
  const auto take = [&seen](std::string_view piece) -> Status {
    seen += piece.size();
    if (seen > 100'000) return fail(Errc::exhausted, "enough");
    return {};
  };
  const Status status = decoder->feed(bomb, take);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::exhausted);
  EXPECT_LT(seen, 200'000U);
}

}  // namespace
}  // namespace ponder::http
