#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/http/content_decoder.h"
#include "base/http/http_client.h"
#include "base/http/request_check.h"
#include "base/http/sse.h"

using namespace ponder::http;

namespace {

/// Whatever address is understood, can be written down, is understood the same, and cannot end a
/// line of a request's head.
void check_url(std::string_view text) {
  const auto base = parse_url("https://a.example/b/c?d");
  for (const auto& url : {parse_url(text), resolve_url(*base, text)}) {
    if (!url) continue;
    const auto again = parse_url(url->text());
    PONDER_ASSERT(again.has_value() && *again == *url);
    PONDER_ASSERT(check_request(Request("GET", *url)).has_value());
  }
}

void check_decoder(const char* encoding, std::string_view bytes, std::size_t step) {
  auto decoder = ContentDecoder::create(encoding);
  std::size_t made = 0;
  const auto take = [&made](std::string_view piece) -> ponder::Status {
    made += piece.size();
    if (made > 1 << 20) return ponder::fail(ponder::Errc::exhausted, "enough");
    return {};
  };
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    if (!decoder->feed(bytes.substr(at, step), take)) return;
  }
  (void)decoder->finish();
}

}  // namespace

/// The first byte says how the rest, which is an address, a compressed body and an event stream,
/// comes in pieces.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = std::max<std::size_t>(1, data[0]);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_url(bytes);
  check_decoder("gzip", bytes, step);
  check_decoder("deflate", bytes, step);
  SseReader events(4096);
  const auto take = [](std::string_view) -> ponder::Status { return {}; };
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    if (!events.feed(bytes.substr(at, step), take)) break;
  }
  return 0;
}
