#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "tools/web/charset.h"
#include "tools/web/foreign_text.h"
#include "tools/web/page_text.h"
#include "tools/web/robots.h"

using namespace ponder::tools;

/// The bytes are a page, and a robots.txt.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string html = to_utf8(bytes, "", true);
  PONDER_ASSERT(without_nul(html) == html);
  const auto base = ponder::http::parse_url("https://a.example/b/");
  for (const PagePart part : {PagePart::article, PagePart::whole}) {
    const PageText page = read_html(html, *base, part);
    PONDER_ASSERT(without_nul(page.text) == page.text);
    PONDER_ASSERT(page.text.find('\r') == std::string::npos);
    const std::string shown = fenced(page.title + page.text, "evidence");
    PONDER_ASSERT(shown.find("\xE2\x9F\xA6", 3) == shown.rfind("\xE2\x9F\xA6"));
    std::size_t begin = 0;
    for (const std::size_t end : page_ends(page.text, 64)) {
      PONDER_ASSERT(end - begin <= 64 && (end > begin || page.text.empty()));
      begin = end;
    }
    PONDER_ASSERT(begin == page.text.size());
  }
  PONDER_ASSERT(foreign_line(html, 100).find('\n') == std::string::npos);
  (void)RobotsRules(bytes, "ponder").allows("/a/b?c");
  return 0;
}
