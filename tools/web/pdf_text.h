#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// The text of a PDF document, in UTF-8, by `pdftotext` (Debian's poppler-utils) in a sandbox that
/// holds nothing but the program: the document comes through its standard input.
///
/// `unavailable` when the program is not installed or this machine cannot keep a sandbox's
/// promises; `invalid_argument` when the bytes are no readable PDF; `exhausted` when the text is
/// longer than 16 MiB; `deadline`, `cancelled`.
boost::asio::awaitable<Result<std::string>> pdf_text(std::string bytes, Deadline deadline);

/// How pdf_text keeps the program in: `isolated` where this machine can, else `confined`.
Isolation isolation_of_pdf_text();

}  // namespace ponder::tools
