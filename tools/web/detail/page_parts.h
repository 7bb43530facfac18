#pragma once

#include <libxml/tree.h>

namespace ponder::tools::html {

/// Whether nothing below an element is text for a reader: scripts, forms, drawings, and what is
/// hidden.
bool is_left_out(const xmlNode* node);
/// Whether an element surrounds a page's text: navigation, footers, banners.
bool is_surrounding(const xmlNode* node);

/// The element of `body` that holds the page's running text, or `body` itself when none stands out.
///
/// Paragraphs give points for their length and commas to the two elements around them, less where
/// much of the text is links; the element with the most points is the article, widened while an
/// element around it has a good part more of such text. What <main> or a lone <article> marks is
/// believed when it holds a fair share of the text.
const xmlNode* find_article(const xmlNode* body);

}  // namespace ponder::tools::html
