#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// Text from anywhere, made fit for what takes only UTF-8.
namespace ponder {

bool is_utf8(std::string_view text);

/// The text with every byte that is not part of valid UTF-8 replaced by U+FFFD. Valid text comes
/// back as it is, so the function applied twice changes nothing more.
std::string clean_utf8(std::string_view text);

/// At most `bytes_max` bytes of valid UTF-8, cut between characters.
std::string_view cut_utf8(std::string_view text, std::size_t bytes_max);

}  // namespace ponder
