#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::tools {

/// A changed text, and the change as a unified diff without file names ("@@ -3,4 +3,5 @@ ...").
struct TextEdit {
  std::string text;
  std::string diff;
};

/// The first to the last line that differ as one hunk of a unified diff, with three lines around
/// it; empty when nothing differs.
std::string diff_of(std::string_view before, std::string_view after);

/// `text` with `before` in place of its only occurrence replaced by `after`. `invalid_argument`
/// when it is not there (with the line that comes nearest, where one does), is there more than once
/// (with the lines), is empty, or changes nothing.
Result<TextEdit> replace_only(std::string_view text, std::string_view before,
                              std::string_view after);

}  // namespace ponder::tools
