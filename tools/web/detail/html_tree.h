#pragma once

#include <libxml/HTMLparser.h>
#include <libxml/tree.h>

#include <memory>
#include <string>
#include <string_view>

/// What the readers of HTML share: a tree of libxml2, and questions about its nodes.
namespace ponder::tools::html {

struct FreeDocument {
  void operator()(xmlDoc* document) const noexcept { xmlFreeDoc(document); }
};
using Document = std::unique_ptr<xmlDoc, FreeDocument>;

/// Parses HTML in UTF-8, however broken; never fetches anything. Null when nothing is left of it.
/// The tree is at most some 256 levels deep, where the parser stops, so walks may recurse.
Document parse(std::string_view utf8);

bool is_element(const xmlNode* node);
/// An element's name in lower case; empty for anything else.
std::string_view name_of(const xmlNode* node);
/// An attribute's value; empty where there is none.
std::string attribute(const xmlNode* node, const char* name);
/// Whether the space-separated list in `class` has this word.
bool has_class(const xmlNode* node, std::string_view word);
/// The text of a node and what is below, each run of blanks as one.
std::string text_of(const xmlNode* node);
/// The first element, in document order, of the tree below `node` (itself included) that passes.
template <class Passes>
const xmlNode* find(const xmlNode* node, const Passes& passes) {
  if (is_element(node) && passes(node)) return node;
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (!is_element(child)) continue;  // an entity's children are not its own
    const xmlNode* found = find(child, passes);
    if (found != nullptr) return found;
  }
  return nullptr;
}
/// Calls `visit` for every element of the tree.
template <class Visit>
void for_each(const xmlNode* node, const Visit& visit) {
  if (is_element(node)) visit(node);
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    if (is_element(child)) for_each(child, visit);
  }
}

/// `text` with each run of blanks (also U+00A0) as one space, and none at its ends.
std::string collapse_blanks(std::string_view text);
bool is_blank(std::string_view text);

}  // namespace ponder::tools::html
