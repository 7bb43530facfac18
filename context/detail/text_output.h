#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "context/completion_parser.h"

/// Collects reasoning and content, and tells the sink of both in larger parts.
namespace ponder::context::detail {

enum class Channel { reasoning, content };

/// Follows Markdown fences line by line: what stands in one is quoted.
class FenceTracker {
 public:
  void add(std::string_view text);
  bool is_open() const { return is_open_; }

 private:
  bool is_open_ = false;
  bool is_line_start_ = true;
  int num_ticks_ = 0;
};

class TextOutput {
 public:
  TextOutput(Completion& out, CompletionSink& sink) : out_(out), sink_(sink) {}

  void put(Channel channel, std::string_view text);
  /// What was put reaches the result and the sink, at the latest when the channel changes.
  void flush();
  bool is_empty() const { return delta_.empty() && out_.reasoning.empty() && out_.content.empty(); }
  /// Whether the content so far ends inside a fence.
  bool is_in_fence() const { return fence_.is_open(); }

 private:
  Completion& out_;
  CompletionSink& sink_;
  Channel channel_ = Channel::reasoning;
  std::string delta_;
  FenceTracker fence_;
};

/// Bytes at the end of `text` that begin a UTF-8 sequence without completing it.
std::size_t incomplete_utf8_tail(std::string_view text);

}  // namespace ponder::context::detail
