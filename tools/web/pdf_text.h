#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace ponder::tools {

/// The text of a PDF document, in UTF-8, by `pdftotext` (Debian's poppler-utils) in a sandbox that
/// holds nothing but the program: the document comes through its standard input.
///
/// `unavailable` when the program is not installed or this machine cannot keep a sandbox's
/// promises; `invalid_argument` when the bytes are no readable PDF; `exhausted` when the text is
/// longer than 16 MiB; `deadline`, `cancelled`.
boost::asio::awaitable<Result<std::string>> pdf_text(std::string bytes, Deadline deadline);

}  // namespace ponder::tools
