#include "tools/web/charset.h"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <memory>

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

/// The length of the valid UTF-8 character at the beginning of `text`; 0 where there is none.
std::size_t character_at(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool is_overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool is_beyond = (first == 0xED && byte(1) > 0x9F) || (first == 0xF4 && byte(1) > 0x8F);
  return is_overlong || is_beyond ? 0 : length;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = character_at(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
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
  if (charset == "utf-8" || charset == "utf8") return clean_utf8(bytes);
  if (!convert(bytes, known_as(charset), out)) return clean_utf8(bytes);
  return clean_utf8(out);
}

}  // namespace

std::string clean_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = text[0] == '\0' ? 0 : character_at(text);
    out += length == 0 ? kReplacement : text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(1, length));
  }
  return out;
}

std::string to_utf8(std::string_view bytes, std::string_view content_type, bool is_html) {
  if (bytes.starts_with("\xEF\xBB\xBF")) return clean_utf8(bytes.substr(3));
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
