#include "tools/detail/random_play.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <utility>

namespace ponder::tools {
namespace {

/// A text that differs in one character: a digit in another one, if there are any.
std::string mutated_text(std::string text, RandomNumbers& random) {
  std::vector<std::size_t> digits;
  std::vector<std::size_t> letters;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (std::isdigit(c) != 0) digits.push_back(i);
    if (std::isalpha(c) != 0) letters.push_back(i);
  }
  if (!digits.empty()) {
    char& digit = text[digits[random.below(digits.size())]];
    digit = static_cast<char>('0' + (digit - '0' + 1 + static_cast<int>(random.below(9))) % 10);
  } else if (!letters.empty()) {
    char& letter = text[letters[random.below(letters.size())]];
    letter = letter == 'q' ? 'z' : 'q';
  } else {
    text += 'x';
  }
  return text;
}

void mutate_leaf(Json& leaf, RandomNumbers& random) {
  if (leaf.is_string()) {
    leaf = mutated_text(leaf.get<std::string>(), random);
  } else if (leaf.is_boolean()) {
    leaf = !leaf.get<bool>();
  } else if (leaf.is_number_integer()) {
    const auto change = static_cast<std::int64_t>(1 + random.below(9));
    leaf = leaf.get<std::int64_t>() + (random.chance(50) ? change : -change);
  } else if (leaf.is_number()) {
    leaf = leaf.get<double>() * 1.25 + 1;
  } else {
    leaf = "x";
  }
}

/// The leaves of a value, and its lists that have something to lose.
void collect(Json& value, std::vector<Json*>& leaves, std::vector<Json*>& lists) {
  if (value.is_array() && !value.empty()) lists.push_back(&value);
  if (value.is_structured()) {
    for (Json& item : value) collect(item, leaves, lists);
  } else {
    leaves.push_back(&value);
  }
}

bool is_word_part(char c) {
  constexpr std::string_view kSeparators = " \t\r\n,;|\"'()[]{}=!?";
  return kSeparators.find(c) == std::string_view::npos;
}

bool is_field_part(char c) {
  constexpr std::string_view kSeparators = "\n,|;";
  return kSeparators.find(c) == std::string_view::npos;
}

template <class IsPart>
void split(std::string_view text, std::vector<std::string>& out, const IsPart& is_part) {
  constexpr std::size_t kWordBytesMax = 60;
  std::string word;
  const auto take = [&] {
    const std::size_t first = word.find_first_not_of(' ');
    const std::size_t last = word.find_last_not_of(" .:");
    if (first != std::string::npos && last != std::string::npos && last >= first &&
        last - first < kWordBytesMax) {
      out.push_back(word.substr(first, last - first + 1));
    }
    word.clear();
  };
  for (const char c : text) {
    if (is_part(c)) {
      word += c;
    } else {
      take();
    }
  }
  take();
}

}  // namespace

std::uint64_t RandomNumbers::next() {
  state_ += 0x9E3779B97F4A7C15U;
  std::uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

Json mutated(const Json& value, RandomNumbers& random) {
  Json out = value;
  std::vector<Json*> leaves;
  std::vector<Json*> lists;
  collect(out, leaves, lists);
  if (!lists.empty() && (leaves.empty() || random.chance(20))) {
    Json& list = *lists[random.below(lists.size())];
    list.erase(random.below(list.size()));
  } else if (!leaves.empty()) {
    mutate_leaf(*leaves[random.below(leaves.size())], random);
  }
  return out;
}

void RandomAgent::read(std::string_view text) {
  split(text, words_, is_word_part);
  split(text, words_, is_field_part);
  if (words_.size() <= kWordsMax) return;
  words_.erase(words_.begin(), words_.end() - kWordsMax);
}

std::int64_t RandomAgent::integer_for(const Json& schema) {
  if (!words_.empty() && random_.chance(50)) {
    for (int attempt = 0; attempt < 20; ++attempt) {
      const std::string& word = words_[random_.below(words_.size())];
      std::int64_t number = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      if (error == std::errc() && end == word.data() + word.size()) return number;
    }
  }
  const std::int64_t low = schema.value("minimum", std::int64_t{0});
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::int64_t near = low > kMost - 20 ? kMost : low + 20;
  const std::int64_t high = std::max(low, schema.value("maximum", near));
  // Without signs, for all of them together are more than a signed number holds.
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  const std::uint64_t step = random_.below(std::max(range + 1, range));
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + step);
}

Json RandomAgent::object_for(const Json& schema, int depth) {
  Json object = Json::object();
  const Json required = schema.value("required", Json::array());
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, inner] : properties.items()) {
    const bool is_required = std::find(required.begin(), required.end(), name) != required.end();
    if (is_required || random_.chance(50)) object[name] = value_for(inner, depth + 1);
  }
  return object;
}

Json RandomAgent::value_for(const Json& schema, int depth) {
  constexpr int kDepthMax = 6;
  if (!schema.is_object() || depth > kDepthMax) return "x";
  const auto options = schema.find("enum");
  if (options != schema.end() && options->is_array() && !options->empty()) {
    return (*options)[random_.below(options->size())];
  }
  const Json type = schema.value("type", Json("string"));
  if (type == "object") return object_for(schema, depth);
  if (type == "integer") return integer_for(schema);
  if (type == "number") return static_cast<double>(integer_for(schema));
  if (type == "boolean") return random_.chance(50);
  if (type == "array") {
    Json list = Json::array();
    const std::size_t count = 1 + random_.below(3);
    const Json items = schema.value("items", Json::object());
    for (std::size_t i = 0; i < count; ++i) list.push_back(value_for(items, depth + 1));
    return list;
  }
  return words_.empty() ? Json("x") : Json(words_[random_.below(words_.size())]);
}

context::ToolCall RandomAgent::next_call() {
  const context::ToolSpec& tool = (*tools_)[random_.below(tools_->size())];
  const auto schema = parse_json(tool.parameters);
  context::ToolCall call;
  call.name = tool.name;
  call.arguments = dump_json(schema ? object_for(*schema, 0) : Json::object());
  return call;
}

}  // namespace ponder::tools
