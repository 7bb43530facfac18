#include "tools/web/detail/html_tree.h"

#include <algorithm>
#include <climits>

namespace ponder::tools::html {
namespace {

const xmlChar* xml(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

std::string_view view(const xmlChar* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

void append_text(const xmlNode* node, std::string& out) {
  if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) {
    out += view(node->content);
    return;
  }
  if (!is_element(node)) return;
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    append_text(child, out);
  }
}

}  // namespace

Document parse(std::string_view utf8) {
  if (utf8.size() > INT_MAX) return nullptr;
  constexpr int kOptions = HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                           HTML_PARSE_NONET | HTML_PARSE_NODEFDTD | HTML_PARSE_IGNORE_ENC |
                           HTML_PARSE_COMPACT;
  return Document(
      htmlReadMemory(utf8.data(), static_cast<int>(utf8.size()), nullptr, "UTF-8", kOptions));
}

bool is_element(const xmlNode* node) { return node->type == XML_ELEMENT_NODE; }

std::string_view name_of(const xmlNode* node) {
  return is_element(node) ? view(node->name) : std::string_view();
}

std::string attribute(const xmlNode* node, const char* name) {
  const std::unique_ptr<xmlChar, void (*)(void*)> value(xmlGetProp(node, xml(name)), xmlFree);
  return std::string(view(value.get()));
}

bool has_class(const xmlNode* node, std::string_view word) {
  const std::string classes = " " + collapse_blanks(attribute(node, "class")) + " ";
  return classes.find(" " + std::string(word) + " ") != std::string::npos;
}

std::string text_of(const xmlNode* node) {
  std::string out;
  append_text(node, out);
  return collapse_blanks(out);
}

std::string collapse_blanks(std::string_view text) {
  std::string out;
  bool is_gap = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_nbsp = text.substr(i, 2) == "\xC2\xA0";
    if (is_nbsp || std::string_view(" \t\r\n\f\v").find(text[i]) != std::string_view::npos) {
      is_gap = true;
      i += is_nbsp ? 1 : 0;
      continue;
    }
    if (is_gap && !out.empty()) out += ' ';
    is_gap = false;
    out += text[i];
  }
  return out;
}

bool is_blank(std::string_view text) { return collapse_blanks(text).empty(); }

}  // namespace ponder::tools::html
