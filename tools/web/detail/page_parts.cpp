#include "tools/web/detail/page_parts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <unordered_map>

#include "tools/web/detail/html_tree.h"

namespace ponder::tools::html {
namespace {

constexpr std::size_t kParagraphBytesMin = 25;
constexpr std::size_t kArticleBytesMin = 200;

template <std::size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 25> kNoText = {
    "script",   "style",  "template", "svg",      "math",  "noscript", "head",
    "iframe",   "object", "embed",    "canvas",   "audio", "video",    "map",
    "dialog",   "button", "select",   "textarea", "input", "link",     "meta",
    "datalist", "applet", "frameset", "progress"};
constexpr std::array<std::string_view, 3> kAround = {"nav", "footer", "aside"};
constexpr std::array<std::string_view, 5> kAroundRoles = {"navigation", "banner", "contentinfo",
                                                          "search", "complementary"};
constexpr std::array<std::string_view, 5> kParagraphs = {"p", "pre", "blockquote", "td", "dd"};

bool is_hidden(const xmlNode* node) {
  if (xmlHasProp(node, reinterpret_cast<const xmlChar*>("hidden")) != nullptr) return true;
  if (attribute(node, "aria-hidden") == "true") return true;
  std::string style = attribute(node, "style");
  std::erase_if(style, [](unsigned char c) { return std::isspace(c) != 0; });
  std::transform(style.begin(), style.end(), style.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return style.find("display:none") != std::string::npos ||
         style.find("visibility:hidden") != std::string::npos;
}

struct Measure {
  std::size_t text_bytes = 0;
  std::size_t link_bytes = 0;
  double points = 0;        // as a parent or grandparent of paragraphs
  double points_below = 0;  // of all paragraphs in it
};

/// Measures a tree once, from its leaves up.
class Measurer {
 public:
  explicit Measurer(const xmlNode* body) { measure(body); }
  const Measure& of(const xmlNode* node) const { return measures_.at(node); }
  const std::unordered_map<const xmlNode*, Measure>& all() const { return measures_; }

  double score(const xmlNode* node) const {
    const Measure& measure = of(node);
    if (measure.text_bytes == 0) return 0;
    const double links = static_cast<double>(measure.link_bytes);
    return measure.points * (1 - links / static_cast<double>(measure.text_bytes));
  }

 private:
  void measure(const xmlNode* node) {
    Measure own;
    std::size_t commas = 0;
    for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
      if (child->type == XML_TEXT_NODE) {
        const std::string text = collapse_blanks(reinterpret_cast<const char*>(child->content));
        own.text_bytes += text.size();
        commas += static_cast<std::size_t>(std::count(text.begin(), text.end(), ','));
      }
      if (!is_element(child) || is_left_out(child) || is_surrounding(child)) continue;
      measure(child);
      const Measure& below = measures_.at(child);
      own.text_bytes += below.text_bytes;
      own.link_bytes += below.link_bytes;
      own.points_below += below.points_below;
    }
    if (name_of(node) == "a") own.link_bytes = own.text_bytes;
    own.points = measures_[node].points;
    const double points = paragraph_points(node, own, commas);
    own.points_below += points;
    measures_[node] = own;
    if (points == 0 || node->parent == nullptr) return;
    measures_[node->parent].points += points;
    if (node->parent->parent != nullptr) measures_[node->parent->parent].points += points / 2;
  }

  static double paragraph_points(const xmlNode* node, const Measure& measure, std::size_t commas) {
    if (!is_one_of(name_of(node), kParagraphs)) return 0;
    const std::size_t own_words = measure.text_bytes - measure.link_bytes;
    if (own_words < kParagraphBytesMin) return 0;
    const double length = std::min(static_cast<double>(own_words) / 100, 3.0);
    return 1 + static_cast<double>(std::min<std::size_t>(commas, 5)) + length;
  }

  std::unordered_map<const xmlNode*, Measure> measures_;
};

/// What the page itself marks as its main part.
const xmlNode* marked(const xmlNode* body) {
  const xmlNode* main = find(body, [](const xmlNode* node) {
    return name_of(node) == "main" || attribute(node, "role") == "main";
  });
  const xmlNode* article = nullptr;
  bool is_lone = true;
  for_each(main == nullptr ? body : main, [&](const xmlNode* node) {
    if (name_of(node) != "article") return;
    is_lone = is_lone && article == nullptr;
    article = node;
  });
  return article != nullptr && is_lone ? article : main;
}

}  // namespace

bool is_left_out(const xmlNode* node) {
  return is_one_of(name_of(node), kNoText) || is_hidden(node);
}

bool is_surrounding(const xmlNode* node) {
  return is_one_of(name_of(node), kAround) || is_one_of(attribute(node, "role"), kAroundRoles);
}

const xmlNode* find_article(const xmlNode* body) {
  const Measurer measurer(body);
  const auto holds_enough = [&](const xmlNode* node, double share) {
    const auto found = measurer.all().find(node);
    if (found == measurer.all().end()) return false;  // inside of what is left out
    const std::size_t bytes = found->second.text_bytes;
    return bytes >= kArticleBytesMin &&
           static_cast<double>(bytes) >= share * static_cast<double>(measurer.of(body).text_bytes);
  };
  const xmlNode* own = marked(body);
  if (own != nullptr && holds_enough(own, 0.3)) return own;

  const xmlNode* best = body;
  for_each(body, [&](const xmlNode* node) {
    if (measurer.all().contains(node) && measurer.score(node) > measurer.score(best)) best = node;
  });
  for (const xmlNode* wider = best; wider != body && wider->parent != nullptr;) {
    wider = wider->parent;
    if (measurer.of(wider).points_below > 1.3 * measurer.of(best).points_below) best = wider;
  }
  return holds_enough(best, 0.25) ? best : body;
}

}  // namespace ponder::tools::html
