#!/usr/bin/env python3
"""Writes engine/detail/unicode_table.cpp: the character classes that the tokenizer's split needs.

The table is of Unicode 14, which the reference implementation of the tokenizer uses too, so this
must run under a Python whose unicodedata is of that version (3.11). Run it from the source root:

    python3 scripts/gen_unicode_table.py > engine/detail/unicode_table.cpp
"""

import sys
import unicodedata

UNICODE_VERSION = "14.0.0"
CLASSES = {"L": 1, "N": 2, "M": 3, "P": 4, "S": 5}
SPACE = 6
# The White_Space property; all of it has general category Z or Cc.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028,
               0x2029, 0x202F, 0x205F, 0x3000}

HEAD = """// Made by scripts/gen_unicode_table.py from Unicode {version}: do not edit.
// Each entry starts a range that ends before the next one: first code point * 8 + CharClass.
#include "engine/detail/unicode_table.h"

namespace ponder::engine::detail {{

// clang-format off
const std::uint32_t kCharClassRanges[] = {{
"""
TAIL = """}};
// clang-format on
const std::size_t kNumCharClassRanges = {count};

}}  // namespace ponder::engine::detail
"""


def char_class(code_point):
    if code_point in WHITE_SPACE:
        return SPACE
    return CLASSES.get(unicodedata.category(chr(code_point))[0], 0)


def main():
    if unicodedata.unidata_version != UNICODE_VERSION:
        sys.exit(f"this Python knows Unicode {unicodedata.unidata_version}, "
                 f"the table is of {UNICODE_VERSION}: use Python 3.11")
    ranges = []
    before = None
    for code_point in range(0x110000):
        now = char_class(code_point)
        if now != before:
            ranges.append(f"0x{code_point * 8 + now:x},")
            before = now
    out = HEAD.format(version=UNICODE_VERSION)
    line = ""
    for entry in ranges:
        if len(line) + len(entry) > 100:
            out += line + "\n"
            line = ""
        line += entry
    sys.stdout.write(out + line + "\n" + TAIL.format(count=len(ranges)))


main()
