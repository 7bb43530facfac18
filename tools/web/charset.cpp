#include "tools/web/charset.h"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <memory>

#include "base/text.h"

namespace ponder::tools {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::size_t kMetaBytesMax = 4096;  // a <meta charset> stands in the first of them

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// What stands behind "charset" and "=", quoted or not.
std::string charset_in(std::string_view text) {
  const std::string low = lower(text);
  for (std::size_t at = 0; (at = low.find("charset", at)) != std::string::npos;) {
    at += std::string_view("charset").size();
    std::size_t begin = low.find_first_not_of(" \t", at);
    if (begin == std::string::npos || low[begin] != '=') continue;
    begin = low.find_first_not_of(" \t\"'", begin + 1);
    if (begin == std::string::npos) return "";
    return low.substr(begin, low.find_first_of("\"'; \t>/", begin) - begin);
  }
  return "";
}

std::string meta_charset(std::string_view html) {
  const std::string head = lower(html.substr(0, kMetaBytesMax));
  for (std::size_t at = 0; (at = head.find("<meta", at)) != std::string::npos;) {
    const std::size_t end = head.find('>', at);
    const std::string charset = charset_in(std::string_view(head).substr(at, end - at));
    if (!charset.empty()) return charset;
    if (end == std::string::npos) return "";
    at = end;
  }
  return "";
}

/// The encoding that iconv is asked for.
std::string known_as(const std::string& charset) {
  constexpr std::array<std::string_view, 5> kLatin = {"iso-8859-1", "latin1", "us-ascii", "ascii",
                                                      "iso8859-1"};
  if (std::find(kLatin.begin(), kLatin.end(), charset) != kLatin.end()) return "windows-1252";
  if (charset == "shift_jis" || charset == "x-sjis") return "cp932";
  if (charset == "gb2312" || charset == "gbk") return "gb18030";
  if (charset == "ks_c_5601-1987" || charset == "euc-kr") return "cp949";
  if (charset.starts_with("utf-16") && charset != "utf-16be") return "utf-16le";
  return charset;
}

/// False when iconv does not know the encoding.
bool convert(std::string_view bytes, const std::string& charset, std::string& out) {
  // An encoding's name comes from the page; iconv's options ("//IGNORE") are not its to set.
  const bool is_name = std::all_of(charset.begin(), charset.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == ':';
  });
  if (!is_name || charset.empty()) return false;
  const iconv_t opened = iconv_open("UTF-8", charset.c_str());
  if (opened == reinterpret_cast<iconv_t>(-1)) return false;
  const std::unique_ptr<void, int (*)(iconv_t)> closer(opened, iconv_close);
  char* in = const_cast<char*>(bytes.data());
  std::size_t in_left = bytes.size();
  std::array<char, 8192> piece;
  while (in_left > 0) {
    char* to = piece.data();
    std::size_t room = piece.size();
    const std::size_t done = iconv(opened, &in, &in_left, &to, &room);
    out.append(piece.data(), piece.size() - room);
    if (done != static_cast<std::size_t>(-1)) continue;
    if (errno == EILSEQ || errno == EINVAL) {
      out += kReplacement;
      ++in;
      --in_left;
    }
  }
  return true;
}

std::string with_charset(std::string_view bytes, const std::string& charset) {
  std::string out;
  if (charset == "utf-8" || charset == "utf8") return without_nul(bytes);
  if (!convert(bytes, known_as(charset), out)) return without_nul(bytes);
  return without_nul(out);
}

}  // namespace

std::string without_nul(std::string_view text) {
  std::string out;
  const std::string clean = clean_utf8(text);
  for (const char c : clean) {
    if (c == '\0') {
      out += kReplacement;
    } else {
      out += c;
    }
  }
  return out;
}

std::string to_utf8(std::string_view bytes, std::string_view content_type, bool is_html) {
  if (bytes.starts_with("\xEF\xBB\xBF")) return without_nul(bytes.substr(3));
  if (bytes.starts_with("\xFE\xFF")) return with_charset(bytes.substr(2), "utf-16be");
  if (bytes.starts_with("\xFF\xFE")) return with_charset(bytes.substr(2), "utf-16le");
  std::string charset = charset_in(content_type);
  if (charset.empty() && is_html) {
    charset = meta_charset(bytes);
    if (charset.starts_with("utf-16")) charset = "utf-8";  // then the <meta> were not readable
  }
  if (charset.empty()) charset = is_utf8(bytes) ? "utf-8" : "windows-1252";
  return with_charset(bytes, charset);
}

std::string media_type(std::string_view content_type) {
  std::string type = lower(content_type.substr(0, content_type.find(';')));
  std::erase_if(type, [](unsigned char c) { return std::isspace(c) != 0; });
  return type;
}

}  // namespace ponder::tools
