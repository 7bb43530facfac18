#include "context/detail/completion_scanner.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "context/detail/schema_types.h"

namespace ponder::context::detail {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

}  // namespace

CompletionScanner::CompletionScanner(const CompletionOptions& options, CompletionSink* sink)
    : format_(*options.format),
      sink_(sink == nullptr ? no_sink_ : *sink),
      output_(out_, sink_),
      calls_(options, out_, sink_),
      scanner_(format_, calls_, out_.notes),
      mode_(options.starts_in_reasoning ? Mode::reasoning : Mode::content) {}

void CompletionScanner::feed(std::string_view chunk) {
  const std::size_t space = kCompletionBytesMax - num_bytes_;
  if (chunk.size() > space) is_too_long_ = true;
  chunk = chunk.substr(0, space);
  num_bytes_ += chunk.size();
  buffer_ += chunk;
  run(std::string_view(buffer_).substr(0, buffer_.size() - incomplete_utf8_tail(buffer_)));
}

Completion CompletionScanner::finish(FinishReason reason) {
  PONDER_ASSERT(!is_final_);
  is_final_ = true;
  run(buffer_);
  if (mode_ == Mode::region) finish_region();
  const bool is_cut_off = !has_ended_ && (reason == FinishReason::length || is_too_long_);
  finish_text(is_cut_off);
  finish_notes(is_cut_off);
  calls_.raise(scanner_.min_class());
  calls_.finish(is_cut_off || is_truncated_);
  out_.verdict = is_cut_off || is_truncated_ ? Verdict::truncated
                 : out_.notes.empty()        ? Verdict::ok
                                             : Verdict::repaired;
  sink_.on_end(out_);
  return std::move(out_);
}

void CompletionScanner::run(std::string_view text) {
  text_ = text;
  pos_ = 0;
  while (pos_ < text_.size() && step()) {
  }
  output_.flush();
  base_ += pos_;
  buffer_.erase(0, pos_);
  pos_ = 0;
  text_ = {};
}

/// Takes one unit; false if more text must decide.
bool CompletionScanner::step() {
  switch (mode_) {
    case Mode::reasoning:
    case Mode::content:
      return step_text();
    case Mode::region:
      return step_region();
    case Mode::after:
      return step_after();
    case Mode::after_reasoning:
      return step_after_reasoning();
    case Mode::after_reasoning_end:
      return step_after_reasoning_end();
    case Mode::done:
      break;
  }
  late_text_ += rest();
  pos_ = text_.size();
  return true;
}

/// At the end of the text a partial match is none.
Match CompletionScanner::match_token(std::string_view token) const {
  const Match match = match_literal(rest(), token);
  return match == Match::partial && is_final_ ? Match::no : match;
}

Match CompletionScanner::match_markup() {
  const Match match = match_tag(rest(), format_, tag_);
  return match == Match::partial && is_final_ ? Match::no : match;
}

std::string_view CompletionScanner::take_space() {
  const std::size_t begin = pos_;
  pos_ = std::min(text_.find_first_not_of(kSpace, pos_), text_.size());
  return text_.substr(begin, pos_ - begin);
}

std::string_view CompletionScanner::take_word() {
  const std::size_t begin = pos_;
  pos_ = std::min(text_.find_first_of("< \t\r\n", pos_), text_.size());
  return text_.substr(begin, pos_ - begin);
}

// --- Reasoning and content.

bool CompletionScanner::step_text() {
  if (is_space(text_[pos_])) {
    held_ += take_space();
    return true;
  }
  if (text_[pos_] != '<') {
    put_held();
    put(take_word());
    return true;
  }
  const Match token = step_token();
  if (token == Match::yes) return true;
  const Match markup = match_markup();
  if (markup == Match::yes && take_opener()) return true;
  if (token == Match::partial || markup == Match::partial) return false;
  if (is_final_ && take_cut_off_tag()) return true;
  put_held();
  put("<");
  ++pos_;
  return true;
}

/// A special token in reasoning or content.
Match CompletionScanner::step_token() {
  bool is_partial = false;
  for (const std::string_view token :
       {format_.eos, format_.think_close, format_.think_open, format_.bos}) {
    const Match match = match_token(token);
    is_partial = is_partial || match == Match::partial;
    if (match != Match::yes) continue;
    take_token(token);
    return Match::yes;
  }
  return is_partial ? Match::partial : Match::no;
}

void CompletionScanner::take_token(std::string_view token) {
  const bool is_reasoning = mode_ == Mode::reasoning;
  if (token == format_.eos) {
    end();
  } else if (token == format_.think_close && is_reasoning) {
    put_held();
    did_close_reasoning_ = true;
    mode_ = Mode::content;
  } else if (token == format_.think_open && output_.is_empty() && !did_close_reasoning_) {
    note(is_reasoning ? "extra_think_open" : "think_in_content");
    mode_ = Mode::reasoning;
  } else {
    note("stray_token", token);
  }
  pos_ += token.size();
}

/// A tag in reasoning or content: opens a region, or stays text.
bool CompletionScanner::take_opener() {
  const bool opens_block =
      !tag_.is_closer && (tag_.kind == TagKind::block || tag_.kind == TagKind::other);
  if (mode_ == Mode::reasoning) {
    const bool is_line_start = output_.is_empty() || held_.find('\n') != std::string::npos;
    if (!opens_block || !is_line_start) return false;
    open_region(Region::reasoning_block, Place::reasoning);
    return true;
  }
  const bool opens_invoke = !tag_.is_closer && tag_.kind == TagKind::invoke;
  if (output_.is_in_fence() || (!opens_block && !opens_invoke)) {
    note_markup_once(output_.is_in_fence() ? "markup_in_fence" : "markup_in_content");
    return false;
  }
  open_region(opens_block ? Region::block : Region::bare, Place::content);
  return true;
}

/// The content ends inside a tag: cut-off markup must not be read as an answer.
bool CompletionScanner::take_cut_off_tag() {
  Tag tag;
  const std::string_view marker_begin = format_.marker.substr(0, format_.marker.rfind("｜"));
  const bool has_marker = rest().substr(1).starts_with(marker_begin);
  if (mode_ != Mode::content || !has_marker || output_.is_in_fence() ||
      match_tag(rest(), format_, tag) != Match::partial) {
    return false;
  }
  raw_ = rest();
  lead_ = std::exchange(held_, {});
  place_ = Place::content;
  region_offset_ = base_ + pos_;
  put_lead();
  note("block_unclosed", raw_);
  is_truncated_ = true;
  pos_ = text_.size();
  mode_ = Mode::after;
  return true;
}

void CompletionScanner::put(std::string_view text) {
  output_.put(mode_ == Mode::reasoning ? Channel::reasoning : Channel::content, text);
}

void CompletionScanner::put_held() {
  put(held_);
  held_.clear();
}

// --- Regions.

void CompletionScanner::open_region(Region region, Place place) {
  region_ = region;
  place_ = place;
  region_offset_ = base_ + pos_;
  num_notes_before_ = out_.notes.size();
  min_class_before_ = scanner_.min_class();
  opener_is_damaged_ = false;
  lead_ = std::exchange(held_, {});
  raw_.clear();
  calls_.open();
  scanner_.open(region);
  if (region != Region::bare) take_block_opener();
  mode_ = Mode::region;
}

void CompletionScanner::take_block_opener() {
  const std::string_view opener = rest().substr(0, tag_.length);
  if (opener != trim(format_.calls_open)) note("block_spelling", opener);
  opener_is_known_ = tag_.kind == TagKind::block;
  opener_is_damaged_ |= !tag_.has_exact_marker || !opener_is_known_;
  raw_ += opener;
  pos_ += tag_.length;
}

bool CompletionScanner::step_region() {
  const std::size_t begin = pos_;
  const BlockScanner::Progress progress = scanner_.step(text_, pos_, base_);
  raw_ += text_.substr(begin, pos_ - begin);
  if (region_ == Region::block && !scanner_.is_unopened()) commit();
  if (calls_.take_finished()) raw_.clear();
  switch (progress) {
    case BlockScanner::Progress::needs_more:
      return false;
    case BlockScanner::Progress::advanced:
      return true;
    case BlockScanner::Progress::closed:
      close_region();
      return true;
    case BlockScanner::Progress::rejected:
      reject_region();
      return true;
    case BlockScanner::Progress::ended:
      break;
  }
  leave_open_region();
  return true;
}

void CompletionScanner::close_region() {
  if (region_ == Region::reasoning_block) {
    mode_ = Mode::after_reasoning;
  } else if (region_ == Region::bare) {
    if (!accept_bare()) reject_region();
  } else {
    commit();
    mode_ = Mode::after;
  }
}

/// The text ends, or an end of turn stands, inside the region.
void CompletionScanner::leave_open_region() {
  if (region_ == Region::bare && scanner_.is_between_invokes() && accept_bare()) return;
  if (region_ != Region::block || (!calls_.is_committed() && !opener_is_known_)) {
    reject_region();
    return;
  }
  note("block_unclosed", raw_);
  is_truncated_ = true;
  commit();
  mode_ = Mode::after;
}

/// What was taken for a region is text after all.
void CompletionScanner::reject_region() {
  PONDER_ASSERT(!calls_.is_committed());
  out_.notes.resize(num_notes_before_);
  scanner_.restore(min_class_before_);
  calls_.discard();
  const std::string text = std::exchange(lead_, {}) + std::exchange(raw_, {});
  if (place_ == Place::trailing) {
    mode_ = Mode::after;
    out_.trailing_text += text;
    return;
  }
  const bool is_reasoning = place_ == Place::reasoning;
  mode_ = is_reasoning ? Mode::reasoning : Mode::content;
  note_region(is_reasoning ? "draft_in_reasoning" : "markup_in_content");
  const std::size_t end = text.find_last_not_of(kSpace) + 1;
  put(std::string_view(text).substr(0, end));
  held_ = text.substr(end);
}

/// The region is one: its lead is white space before a block, its calls are calls.
void CompletionScanner::commit() {
  if (calls_.is_committed()) return;
  if (place_ == Place::trailing) {
    note_region("second_block");
    calls_.raise(CallClass::repaired);
  } else {
    put_lead();
  }
  if (opener_is_damaged_) calls_.raise(CallClass::repaired);
  calls_.commit();
}

/// The two line breaks before a block are markup, and more are content; anything else is damage.
void CompletionScanner::put_lead() {
  const std::string lead = std::exchange(lead_, {});
  if (lead.ends_with("\n\n")) {
    output_.put(place_ == Place::reasoning ? Channel::reasoning : Channel::content,
                std::string_view(lead).substr(0, lead.size() - 2));
  } else {
    note_region("block_lead");
  }
  output_.flush();
}

/// Invokes without a block count only if they end the turn and every tool is known.
bool CompletionScanner::accept_bare() {
  if (!calls_.waits_for_known_tools()) return false;
  note_region("bare_invoke");
  calls_.raise(CallClass::repaired);
  commit();
  mode_ = Mode::after;
  return true;
}

void CompletionScanner::accept_calls_in_reasoning() {
  note_region("calls_in_reasoning");
  calls_.raise(CallClass::repaired);
  commit();
  mode_ = Mode::after;
}

// --- After a region.

bool CompletionScanner::step_after() {
  if (is_space(text_[pos_])) {
    after_space_ += take_space();
    return true;
  }
  if (text_[pos_] == '<') {
    const Match token = match_token(format_.eos);
    if (token == Match::yes) {
      end();
      pos_ += format_.eos.size();
      return true;
    }
    const Match markup = match_markup();
    if (markup == Match::yes && !tag_.is_closer && tag_.kind != TagKind::parameter) {
      held_ = std::exchange(after_space_, {});
      open_region(tag_.kind == TagKind::invoke ? Region::bare : Region::block, Place::trailing);
      return true;
    }
    if (token == Match::partial || markup == Match::partial) return false;
  }
  out_.trailing_text += std::exchange(after_space_, {});
  out_.trailing_text += text_[pos_++];
  out_.trailing_text += take_word();
  return true;
}

bool CompletionScanner::step_after_reasoning() {
  if (is_space(text_[pos_])) {
    raw_ += take_space();
    return true;
  }
  const Match token = match_token(format_.eos);
  const Match close = match_token(format_.think_close);
  const Match markup = text_[pos_] == '<' ? match_markup() : Match::no;
  if (token == Match::yes) {
    accept_calls_in_reasoning();
  } else if (close == Match::yes) {
    pos_ += format_.think_close.size();
    mode_ = Mode::after_reasoning_end;
  } else if (markup == Match::yes && !tag_.is_closer && tag_.kind == TagKind::block) {
    note("second_block");
    take_block_opener();
    scanner_.open(Region::reasoning_block);
    mode_ = Mode::region;
  } else if (token == Match::partial || close == Match::partial || markup == Match::partial) {
    return false;
  } else {
    reject_region();
  }
  return true;
}

bool CompletionScanner::step_after_reasoning_end() {
  if (is_space(text_[pos_])) {
    after_space_ += take_space();
    return true;
  }
  const Match token = match_token(format_.eos);
  if (token == Match::partial) return false;
  if (token == Match::yes) {
    accept_calls_in_reasoning();
  } else {
    reject_region();
    end_reasoning_of_draft();
  }
  return true;
}

void CompletionScanner::end_reasoning_of_draft() {
  put_held();
  did_close_reasoning_ = true;
  mode_ = Mode::content;
  held_ = std::exchange(after_space_, {});
}

// --- The end.

void CompletionScanner::end() {
  flush_after_space();
  if (mode_ == Mode::reasoning || mode_ == Mode::content) put_held();
  if (mode_ == Mode::reasoning) note("reasoning_unclosed");
  output_.flush();
  has_ended_ = true;
  mode_ = Mode::done;
}

void CompletionScanner::flush_after_space() {
  if (!after_space_.empty()) note("space_after_block");
  after_space_.clear();
}

/// The text is over inside a region.
void CompletionScanner::finish_region() {
  raw_ += std::exchange(buffer_, {});
  if (raw_.ends_with(format_.eos)) {  // inside a value it was text as long as more could follow
    raw_.resize(raw_.size() - format_.eos.size());
    has_ended_ = true;
  }
  leave_open_region();
}

/// Decides whatever waited for more text.
void CompletionScanner::finish_text(bool is_cut_off) {
  if (mode_ == Mode::after_reasoning || mode_ == Mode::after_reasoning_end) {
    const bool has_closed = mode_ == Mode::after_reasoning_end;
    if (is_cut_off) {
      reject_region();
      if (has_closed) end_reasoning_of_draft();
    } else {
      accept_calls_in_reasoning();
    }
  }
  if (mode_ == Mode::done) return;
  flush_after_space();
  if (mode_ == Mode::after) return;
  put_held();
  if (mode_ == Mode::reasoning) note("reasoning_unclosed");
  output_.flush();
}

void CompletionScanner::finish_notes(bool is_cut_off) {
  if (!out_.trailing_text.empty()) {
    note("text_after_block");
    calls_.raise(CallClass::repaired);
  }
  if (!late_text_.empty()) note("text_after_end", late_text_);
  if (is_too_long_) note("too_long");
  if (is_cut_off) note("no_end_of_turn");
}

void CompletionScanner::note(std::string_view code, std::string_view detail) {
  out_.notes.push_back({code, base_ + pos_, std::string(detail)});
}

void CompletionScanner::note_region(std::string_view code) {
  out_.notes.push_back({code, region_offset_, {}});
}

void CompletionScanner::note_markup_once(std::string_view code) {
  if (!std::exchange(has_noted_markup_, true)) note(code);
}

}  // namespace ponder::context::detail
