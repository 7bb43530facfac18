#include <string_view>

#include "engine/grammar_rules.h"

// The JSON byte machine. A state is one 64-bit word:
//   bits 0-7 what is expected, 8-15 open containers, 16-31 a bit for each of them (1: object),
//   32-47 scanner state in a string, 48-55 auxiliary (UTF-8 state, word and position, root type,
//   in an integer part bit 0: no fraction and no exponent, above it the digits after the first),
//   56 the string is a key.
namespace ponder::engine {
namespace {

constexpr int kDepthMax = 16;
// With an exponent of two digits a number stays below 1e200, so that every reader can hold it.
constexpr int kIntegerDigitsMax = 100;
constexpr std::string_view kWords[] = {"true", "false", "null"};

enum class At : std::uint8_t {
  root,          // a value of the root's type
  value,         // any value
  spaced_value,  // the same, or one space before it
  first_item,    // a value or ]
  first_key,     // a key or }
  spaced_key,    // a key, or one space before it
  key,
  colon,
  after_value,  // , or the closing bracket
  in_string,
  escape,
  hex1, hex2, hex2_low, hex3, hex4,  // hex2_low: after \ud, where surrogates are refused
  word,
  minus, zero, digits, point, fraction, exponent, exponent_sign, exponent_digit, exponent_end,
};

struct State {
  At at = At::root;
  std::uint8_t depth = 0;
  std::uint16_t is_object = 0;
  std::uint16_t scan = 0;
  std::uint8_t aux = 0;
  bool in_key = false;

  std::uint64_t pack() const {
    return static_cast<std::uint64_t>(at) | std::uint64_t{depth} << 8 |
           std::uint64_t{is_object} << 16 | std::uint64_t{scan} << 32 | std::uint64_t{aux} << 48 |
           std::uint64_t{in_key} << 56;
  }
  static State unpack(std::uint64_t word) {
    return {static_cast<At>(word & 0xFF),
            static_cast<std::uint8_t>(word >> 8),
            static_cast<std::uint16_t>(word >> 16),
            static_cast<std::uint16_t>(word >> 32),
            static_cast<std::uint8_t>(word >> 48),
            (word >> 56 & 1) != 0};
  }
};

bool is_digit(std::uint8_t byte) { return byte >= '0' && byte <= '9'; }
bool is_hex(std::uint8_t byte) {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

JsonStep dead() { return {}; }

JsonStep go(State state, At at) {
  state.at = at;
  return {.is_alive = true, .goes_on = true, .next = state.pack()};
}

/// The value just ended with this byte.
JsonStep ended(State state) {
  if (state.depth == 0) return {.is_alive = true, .is_done = true};
  state.aux = 0;
  state.scan = 0;
  state.in_key = false;
  return go(state, At::after_value);
}

/// A number that may end here; inside a container the next byte decides.
JsonStep number(State state, At at) {
  JsonStep step = go(state, at);
  step.is_done = state.depth == 0;
  return step;
}

JsonStep open(State state, bool is_object) {
  if (state.depth == kDepthMax) return dead();
  state.is_object = static_cast<std::uint16_t>(
      (state.is_object & ~(1U << state.depth)) | (is_object ? 1U << state.depth : 0U));
  ++state.depth;
  state.aux = 0;
  return go(state, is_object ? At::first_key : At::first_item);
}

JsonStep close(State state) {
  --state.depth;
  state.is_object &= static_cast<std::uint16_t>((1U << state.depth) - 1);
  return ended(state);
}

JsonStep open_string(State state, bool in_key) {
  state.in_key = in_key;
  state.scan = 0;
  state.aux = static_cast<std::uint8_t>(Utf8State::start);
  return go(state, At::in_string);
}

bool in_object(const State& state) { return (state.is_object >> (state.depth - 1) & 1) != 0; }

bool type_allows(JsonType type, std::uint8_t byte) {
  switch (type) {
    case JsonType::any: return true;
    case JsonType::object: return byte == '{';
    case JsonType::array: return byte == '[';
    case JsonType::number:
    case JsonType::integer: return byte == '-' || is_digit(byte);
    case JsonType::boolean: return byte == 't' || byte == 'f';
    case JsonType::null: return byte == 'n';
    case JsonType::string: return byte == '"';
  }
  return false;
}

JsonStep begin_value(State state, JsonType type, std::uint8_t byte) {
  if (!type_allows(type, byte)) return dead();
  state.aux = type == JsonType::integer ? 1 : 0;  // numbers: no fraction, no exponent
  if (byte == '"') return open_string(state, false);
  if (byte == '{') return open(state, true);
  if (byte == '[') return open(state, false);
  if (byte == '-') return go(state, At::minus);
  if (byte == '0') return number(state, At::zero);
  if (is_digit(byte)) return number(state, At::digits);
  for (std::size_t word = 0; word < std::size(kWords); ++word) {
    if (static_cast<std::uint8_t>(kWords[word][0]) != byte) continue;
    state.aux = static_cast<std::uint8_t>(word << 4 | 1);
    return go(state, At::word);
  }
  return dead();
}

JsonStep after_value(State state, std::uint8_t byte) {
  const bool object = in_object(state);
  if (byte == ',') return go(state, object ? At::spaced_key : At::spaced_value);
  const std::uint8_t end = object ? '}' : ']';
  return byte == end ? close(state) : dead();
}

JsonStep string_byte(State state, std::uint8_t byte, const TextScanner& forbidden) {
  const Utf8State utf8 = utf8_step(static_cast<Utf8State>(state.aux), byte);
  if (utf8 == Utf8State::invalid || byte < 0x20) return dead();
  if (byte == '"') {
    if (!state.in_key) return ended(state);
    state.in_key = false;
    state.scan = 0;
    return go(state, At::colon);
  }
  state.scan = forbidden.step(state.scan, byte);
  if (state.scan == TextScanner::kDead) return dead();
  state.aux = static_cast<std::uint8_t>(utf8);
  return go(state, byte == '\\' ? At::escape : At::in_string);
}

JsonStep escape_byte(State state, std::uint8_t byte) {
  constexpr std::string_view kSimple = "\"\\/bfnrt";
  if (byte == 'u') return go(state, At::hex1);
  if (kSimple.find(static_cast<char>(byte)) == std::string_view::npos) return dead();
  state.scan = 0;  // what the escape stands for is not raw text
  return go(state, At::in_string);
}

JsonStep hex_byte(State state, std::uint8_t byte) {
  if (!is_hex(byte)) return dead();
  switch (state.at) {
    case At::hex1: return go(state, byte == 'd' || byte == 'D' ? At::hex2_low : At::hex2);
    case At::hex2_low: return byte <= '7' ? go(state, At::hex3) : dead();
    case At::hex2: return go(state, At::hex3);
    case At::hex3: return go(state, At::hex4);
    default: state.scan = 0; return go(state, At::in_string);
  }
}

JsonStep word_byte(State state, std::uint8_t byte) {
  const std::string_view word = kWords[state.aux >> 4];
  const std::size_t at = state.aux & 0xF;
  if (static_cast<std::uint8_t>(word[at]) != byte) return dead();
  if (at + 1 == word.size()) return ended(state);
  ++state.aux;
  return go(state, At::word);
}

/// What follows a number that could have ended.
JsonStep after_number(State state, std::uint8_t byte) {
  if (state.depth == 0) return dead();
  state.aux = 0;
  return after_value(state, byte);
}

JsonStep number_byte(State state, std::uint8_t byte) {
  const bool digit = is_digit(byte);
  const bool may_be_float = (state.aux & 1) == 0;
  switch (state.at) {
    case At::minus:
      if (!digit) return dead();
      return number(state, byte == '0' ? At::zero : At::digits);
    case At::digits:
      if (digit) {
        if ((state.aux >> 1) + 1 == kIntegerDigitsMax) return dead();
        state.aux += 2;
        return number(state, At::digits);
      }
      [[fallthrough]];
    case At::zero:
      if (digit) return dead();
      if (may_be_float && (byte == '.' || byte == 'e' || byte == 'E')) {
        state.aux = 0;
        return go(state, byte == '.' ? At::point : At::exponent);
      }
      return after_number(state, byte);
    case At::point:
      return digit ? number(state, At::fraction) : dead();
    case At::fraction:
      if (digit) return number(state, At::fraction);
      if (byte == 'e' || byte == 'E') return go(state, At::exponent);
      return after_number(state, byte);
    case At::exponent:
      if (byte == '+' || byte == '-') return go(state, At::exponent_sign);
      return digit ? number(state, At::exponent_digit) : dead();
    case At::exponent_sign:
      return digit ? number(state, At::exponent_digit) : dead();
    case At::exponent_digit:
      return digit ? number(state, At::exponent_end) : after_number(state, byte);
    default:
      return digit ? dead() : after_number(state, byte);
  }
}

}  // namespace

std::uint64_t json_start(JsonType type) noexcept {
  State state;
  state.aux = static_cast<std::uint8_t>(type);
  return state.pack();
}

JsonStep json_step(std::uint64_t word, std::uint8_t byte, const TextScanner& forbidden) noexcept {
  const State state = State::unpack(word);
  switch (state.at) {
    case At::root: return begin_value(state, static_cast<JsonType>(state.aux), byte);
    case At::spaced_value:
      if (byte == ' ') return go(state, At::value);
      return begin_value(state, JsonType::any, byte);
    case At::value: return begin_value(state, JsonType::any, byte);
    case At::first_item:
      return byte == ']' ? close(state) : begin_value(state, JsonType::any, byte);
    case At::first_key:
      if (byte == '}') return close(state);
      return byte == '"' ? open_string(state, true) : dead();
    case At::spaced_key:
      if (byte == ' ') return go(state, At::key);
      return byte == '"' ? open_string(state, true) : dead();
    case At::key: return byte == '"' ? open_string(state, true) : dead();
    case At::colon: return byte == ':' ? go(state, At::spaced_value) : dead();
    case At::after_value: return after_value(state, byte);
    case At::in_string: return string_byte(state, byte, forbidden);
    case At::escape: return escape_byte(state, byte);
    case At::hex1:
    case At::hex2:
    case At::hex2_low:
    case At::hex3:
    case At::hex4: return hex_byte(state, byte);
    case At::word: return word_byte(state, byte);
    default: return number_byte(state, byte);
  }
}

std::optional<std::uint64_t> json_string_state(std::uint64_t word) noexcept {
  State state = State::unpack(word);
  if (state.at < At::in_string || state.at > At::hex4) return std::nullopt;
  state.depth = 0;
  state.is_object = 0;
  state.in_key = false;
  return state.pack();
}

std::uint64_t json_string_start() noexcept { return open_string(State(), false).next; }

}  // namespace ponder::engine
