#include "tools/web/page_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "tools/web/detail/html_tree.h"
#include "tools/web/detail/markdown_writer.h"
#include "tools/web/detail/page_parts.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kLinkBytesMax = 1024;

constexpr std::array<std::string_view, 27> kBlocks = {
    "p",      "div",  "section", "article", "main",    "header", "address",    "fieldset", "form",
    "figure", "dl",   "dt",      "dd",      "details", "center", "figcaption", "summary",  "ul",
    "ol",     "menu", "tr",      "caption", "hgroup",  "table",  "legend",     "footer",   "aside"};

bool is_block(std::string_view name) {
  return std::find(kBlocks.begin(), kBlocks.end(), name) != kBlocks.end();
}

/// The level of h1 to h6; 0 for anything else.
std::size_t heading_level(std::string_view name) {
  const bool is_heading = name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6';
  return is_heading ? static_cast<std::size_t>(name[1] - '0') : 0;
}

/// The text of a <pre>, with its line ends.
void append_code(const xmlNode* node, std::string& out) {
  if (html::name_of(node) == "br") out += '\n';
  if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) {
    out += reinterpret_cast<const char*>(node->content);
  }
  if (!html::is_element(node) || html::is_left_out(node)) return;
  for (const xmlNode* child = node->children; child != nullptr; child = child->next) {
    append_code(child, out);
  }
}

std::string code_language(const xmlNode* pre) {
  std::string language;
  html::for_each(pre, [&language](const xmlNode* node) {
    const std::string classes = html::attribute(node, "class");
    const std::size_t at = classes.find("language-");
    if (!language.empty() || at == std::string::npos) return;
    for (const char c : classes.substr(at + 9, 20)) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '+' && c != '#') break;
      language += c;
    }
  });
  return language;
}

/// Walks a tree and writes what it says.
class PageWriter {
 public:
  PageWriter(const std::optional<http::Url>* base, bool is_whole)
      : base_(base), is_whole_(is_whole) {}

  void write(const xmlNode* node) {
    if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) {
      out_.text(reinterpret_cast<const char*>(node->content));
      return;
    }
    if (!html::is_element(node) || html::is_left_out(node)) return;
    if (!is_whole_ && html::is_surrounding(node)) return;
    write_element(node, html::name_of(node));
  }
  void write_children(const xmlNode* node) {
    for (const xmlNode* child = node->children; child != nullptr; child = child->next) write(child);
  }
  std::string take() { return out_.take(); }

 private:
  void write_element(const xmlNode* node, std::string_view name) {
    if (const std::size_t level = heading_level(name); level > 0) {
      write_heading(node, level);
    } else if (name == "br") {
      out_.end_line();
    } else if (name == "hr") {
      out_.end_paragraph();
      out_.word("---");
      out_.end_paragraph();
    } else if (name == "a") {
      write_link(node);
    } else if (name == "img") {
      const std::string description = html::collapse_blanks(html::attribute(node, "alt"));
      if (!description.empty()) out_.text("[image: " + description + "]");
    } else if (name == "pre") {
      write_code(node);
    } else if (name == "code" || name == "kbd" || name == "samp") {
      const std::string code = html::text_of(node);
      if (!code.empty()) out_.text("`" + code + "`");
    } else if (name == "blockquote") {
      write_marked(node, "> ", "> ");
    } else if (name == "ul" || name == "ol" || name == "menu") {
      write_list(node, name == "ol");
    } else if (name == "table" && is_data_table(node)) {
      write_table(node);
    } else {
      const bool is_own_paragraph = is_block(name);
      if (is_own_paragraph) out_.end_paragraph();
      write_children(node);
      if (is_own_paragraph) out_.end_paragraph();
      if (name == "td" || name == "th" || name == "li") out_.end_line();
    }
  }

  void write_heading(const xmlNode* node, std::size_t level) {
    const std::string line = line_of(node);
    if (line.empty()) return;
    out_.end_paragraph();
    out_.word(std::string(level, '#') + " ");
    out_.word(line);
    out_.end_paragraph();
  }

  void write_marked(const xmlNode* node, std::string_view first, std::string_view others) {
    out_.end_paragraph();
    std::string before = out_.enter(first, others);
    write_children(node);
    out_.leave(std::move(before));
    out_.end_paragraph();
  }

  void write_list(const xmlNode* list, bool is_numbered) {
    const bool is_inner = list_depth_ > 0;
    if (is_inner) {
      out_.end_line();
    } else {
      out_.end_paragraph();
    }
    ++list_depth_;
    std::size_t number = 0;
    for (const xmlNode* child = list->children; child != nullptr; child = child->next) {
      if (html::name_of(child) != "li") {
        write(child);
      } else if (!html::is_left_out(child)) {
        write_item(child, is_numbered ? std::to_string(++number) + ". " : "- ");
      }
    }
    --list_depth_;
    if (!is_inner) out_.end_paragraph();
  }

  void write_item(const xmlNode* item, const std::string& mark) {
    out_.end_line();
    std::string before = out_.enter(mark, std::string(mark.size(), ' '));
    write_children(item);
    out_.leave(std::move(before));
    out_.end_line();
    out_.tighten();
  }

  void write_link(const xmlNode* node) {
    // Links may be nested hundreds deep: what is below is walked once, or the walks double at each.
    const auto target = target_of(node);
    const auto is_paragraph = [node](const xmlNode* below) {
      const std::string_view name = html::name_of(below);
      return below != node && (is_block(name) || heading_level(name) > 0);
    };
    if (!target || html::find(node, is_paragraph) != nullptr) {
      write_children(node);
      return;
    }
    const std::string label = line_of(node);
    if (label.empty()) {
      out_.text(" ");
      return;
    }
    out_.text(label == *target ? label : "[" + label + "](" + *target + ")");
  }

  /// Where a link leads, if it is worth telling.
  std::optional<std::string> target_of(const xmlNode* node) const {
    const std::string reference = html::collapse_blanks(html::attribute(node, "href"));
    if (reference.empty() || reference.starts_with('#')) return std::nullopt;
    const auto url =
        base_->has_value() ? http::resolve_url(**base_, reference) : http::parse_url(reference);
    if (!url) return std::nullopt;
    std::string text = url->text();
    if (text.size() > kLinkBytesMax) return std::nullopt;
    for (std::size_t at = 0; (at = text.find_first_of("()", at)) != std::string::npos; at += 3) {
      text.replace(at, 1, text[at] == '(' ? "%28" : "%29");  // they would end the link
    }
    return text;
  }

  void write_code(const xmlNode* node) {
    std::string code;
    append_code(node, code);
    while (code.starts_with('\n')) code.erase(0, 1);
    while (code.ends_with('\n') || code.ends_with(' ')) code.pop_back();
    if (!code.empty()) out_.code(code, code_language(node));
  }

  /// What stands below a node, in one line.
  std::string line_of(const xmlNode* node) const {
    PageWriter inner(base_, is_whole_);
    inner.write_children(node);
    return html::collapse_blanks(inner.take());
  }

  /// Tables that only arrange a page are read like paragraphs.
  static bool is_data_table(const xmlNode* table) {
    if (html::attribute(table, "role") == "presentation") return false;
    std::size_t widest = 0;
    bool is_nested = false;
    html::for_each(table, [&](const xmlNode* node) {
      const std::string_view name = html::name_of(node);
      is_nested = is_nested || (node != table && (name == "table" || name == "pre"));
      if (name == "tr") widest = std::max(widest, cells_of(node).size());
    });
    return widest > 1 && !is_nested;
  }
  static std::vector<const xmlNode*> cells_of(const xmlNode* row) {
    std::vector<const xmlNode*> cells;
    for (const xmlNode* child = row->children; child != nullptr; child = child->next) {
      const std::string_view name = html::name_of(child);
      if (name == "td" || name == "th") cells.push_back(child);
    }
    return cells;
  }

  void write_table(const xmlNode* table) {
    out_.end_paragraph();
    bool is_first = true;
    html::for_each(table, [&](const xmlNode* node) {
      if (html::name_of(node) == "caption") {
        out_.text(html::text_of(node));
        out_.end_paragraph();
      }
      if (html::name_of(node) != "tr" || html::is_left_out(node)) return;
      std::string line = "|";
      std::string rule = "|";
      for (const xmlNode* cell : cells_of(node)) {
        std::string text = html::is_left_out(cell) ? "" : line_of(cell);
        for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
          text.insert(at, "\\");
        }
        line += " " + text + " |";
        rule += " --- |";
      }
      if (line == "|") return;
      out_.end_line();
      out_.word(line);
      if (is_first) {
        out_.end_line();
        out_.word(rule);
      }
      is_first = false;
    });
    out_.end_paragraph();
  }

  html::MarkdownWriter out_;
  const std::optional<http::Url>* base_;
  bool is_whole_;
  int list_depth_ = 0;
};

std::string title_of(const xmlNode* root) {
  const auto is_named = [](std::string_view wanted) {
    return [wanted](const xmlNode* node) { return html::name_of(node) == wanted; };
  };
  for (const char* name : {"title", "h1"}) {
    const xmlNode* found = html::find(root, is_named(name));
    const std::string text = found == nullptr ? "" : html::text_of(found);
    if (!text.empty()) return text;
  }
  return "";
}

/// What relative addresses of the page are relative to: <base>, or the page's own.
std::optional<http::Url> place_of(const xmlNode* root, const std::optional<http::Url>& own) {
  const xmlNode* base =
      html::find(root, [](const xmlNode* node) { return html::name_of(node) == "base"; });
  if (base == nullptr) return own;
  const std::string reference = html::attribute(base, "href");
  const auto url = own ? http::resolve_url(*own, reference) : http::parse_url(reference);
  if (!url || url->text().size() > kLinkBytesMax) return own;
  return *url;
}

std::string published_of(const xmlNode* root) {
  constexpr std::array<std::string_view, 5> kNames = {"article:published_time", "date", "dc.date",
                                                      "datePublished", "citation_publication_date"};
  std::string date;
  html::for_each(root, [&](const xmlNode* node) {
    const std::string_view name = html::name_of(node);
    if (!date.empty()) return;
    if (name == "time") date = html::attribute(node, "datetime");
    if (name != "meta") return;
    for (const char* key : {"property", "name", "itemprop"}) {
      const std::string value = html::attribute(node, key);
      const bool is_date = std::find(kNames.begin(), kNames.end(), value) != kNames.end();
      if (is_date) date = html::attribute(node, "content");
    }
  });
  return html::collapse_blanks(date.substr(0, 40));
}

}  // namespace

PageText read_html(std::string_view utf8, const std::optional<http::Url>& base, PagePart part) {
  PageText page;
  const html::Document document = html::parse(utf8);
  const xmlNode* root = document == nullptr ? nullptr : xmlDocGetRootElement(document.get());
  if (root == nullptr) return page;
  page.title = title_of(root);
  page.published = published_of(root);
  const xmlNode* body =
      html::find(root, [](const xmlNode* node) { return html::name_of(node) == "body"; });
  if (body == nullptr) body = root;
  const bool is_whole = part == PagePart::whole;
  const std::optional<http::Url> place = place_of(root, base);
  PageWriter writer(&place, is_whole);
  writer.write_children(is_whole ? body : html::find_article(body));
  page.text = writer.take();
  return page;
}

std::string html_to_line(std::string_view utf8) {
  const std::string text = read_html(utf8, std::nullopt, PagePart::whole).text;
  return html::collapse_blanks(text);
}

}  // namespace ponder::tools
