#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/http/url.h"

namespace ponder::tools {

/// A web page as text that a model can read.
struct PageText {
  std::string title;
  std::string published;  // as the page says it; empty where it does not
  std::string text;       // like Markdown; see read_html
};

/// Which part of a page is read.
enum class PagePart {
  article,  // the part that holds the running text, where one stands out
  whole,
};

/// Reads HTML (in UTF-8, however broken) into Markdown-like text: headings, paragraphs, lists,
/// quotations, tables, code, links with absolute addresses; an image is its description.
///
/// Left out: what is no text (scripts, styles, templates, drawings, forms), what people do not see
/// (hidden elements), and what surrounds a page (navigation, footers). Addresses that are neither
/// http nor https are left out too, their text stays. Relative ones mean what they mean at `base`.
/// The text is valid UTF-8 when the HTML is, and holds no control characters but line ends.
PageText read_html(std::string_view utf8, const std::optional<http::Url>& base,
                   PagePart part = PagePart::article);

/// The text of a piece of HTML without any structure, in one line.
std::string html_to_line(std::string_view utf8);

}  // namespace ponder::tools
