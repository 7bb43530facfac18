#pragma once

#include <string>
#include <string_view>

namespace ponder::tools {

/// The bytes of a document as UTF-8, whatever they are.
///
/// The encoding is, as browsers have it: that of a byte order mark; else what `content_type` (a
/// Content-Type header, may be empty) names; else, in HTML, what a <meta> near the beginning names;
/// else UTF-8 where the bytes are that, and windows-1252 where not. "iso-8859-1" and "us-ascii"
/// mean windows-1252, too (WHATWG Encoding, 4.2). What cannot be read, and NUL, is U+FFFD.
std::string to_utf8(std::string_view bytes, std::string_view content_type, bool is_html);

/// `text` with what is no UTF-8, and NUL, as U+FFFD.
std::string without_nul(std::string_view text);

/// "text/html" of "Text/HTML; charset=x".
std::string media_type(std::string_view content_type);

}  // namespace ponder::tools
