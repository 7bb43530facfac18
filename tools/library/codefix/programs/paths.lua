return {
  name = "paths",
  held_out = true,
  purpose = "Paths are lists of names. `$normalised` drops \".\" and goes up for \"..\" (never above the top), `$common_depth` is how many names two paths begin with alike, `$joined` writes a path with slashes.",
  names = {
    { key = "normalised", words = { "normalised", "simplify", "clean", "resolve", "tidy", "reduced" } },
    { key = "common_depth", words = { "common_depth", "shared_prefix", "same_names", "overlap", "common_names", "agreeing" } },
    { key = "joined", words = { "joined", "to_text", "join_path", "as_text", "written", "path_text" } },
    { key = "parts", words = { "parts", "names", "segments", "steps", "pieces", "components" } },
    { key = "other", words = { "other", "second", "right", "reference", "compared", "against" } },
  },
  visible = {
    { "normalised", { { "a", ".", "b", "..", "c" } }, { "a", "c" } }, { "normalised", { { "..", "a" } }, { "a" } }, { "normalised", { { "a", "b" } }, { "a", "b" } }, { "normalised", { {} }, {} }, { "normalised", { { "a", ".." } }, {} },
    { "common_depth", { { "a", "b", "c" }, { "a", "b", "d" } }, 2 }, { "common_depth", { { "x" }, { "y" } }, 0 }, { "common_depth", { { "a" }, { "a", "b" } }, 1 }, { "common_depth", { { "a", "x", "c" }, { "a", "y", "c" } }, 1 },
    { "joined", { { "usr", "lib" } }, "/usr/lib" }, { "joined", { {} }, "/" },
  },
  hidden = {
    { "normalised", { { "a", "b", "..", ".." } }, {} }, { "normalised", { { ".", "." } }, {} }, { "normalised", { { "x", "..", "..", "y", "." } }, { "y" } },
    { "common_depth", { {}, { "a" } }, 0 }, { "common_depth", { { "m", "n" }, { "m", "n" } }, 2 }, { "common_depth", { { "p", "q" }, { "r", "q" } }, 0 },
    { "joined", { { "home" } }, "/home" }, { "joined", { { "a", "b", "c" } }, "/a/b/c" }, { "joined", { {} }, "/" },
  },
  python = [==[
def $normalised($parts):
    out = []
    for part in $parts:
        if part == ".":   @@wrong_constant|if part == "/":   @@missing_edge_case|-2
            continue   @@wrong_jump|break
        if part == "..":   @@negated_condition|if part != "..":
            if out:   @@missing_nil_check|if True:   @@negated_condition|if not out:
                out.pop()   @@wrong_index|out.pop(0)
        else:
            out.append(part)   @@wrong_variable|out.append($parts[0])
    return out   @@wrong_variable|return $parts


def $common_depth($parts, $other):
    depth = 0   @@wrong_initial_value|depth = 1
    for name, other_name in zip($parts, $other):   @@wrong_variable|for name, other_name in zip($parts, $parts):
        if name != other_name:   @@negated_condition|if name == other_name:
            break   @@missing_break|continue
        depth += 1   @@wrong_operator|depth -= 1
    return depth


def $joined($parts, separator="/"):   @@wrong_default|def $joined($parts, separator="."):
    return separator + separator.join($parts)   @@missing_return|separator + separator.join($parts)   @@missing_update|return separator.join($parts)   @@wrong_slice|return separator + separator.join($parts[1:])
]==],
  lua = [==[
local paths = {}

function paths.$normalised($parts)
  local out = {}
  for _, part in ipairs($parts) do
    if part == ".." then   @@wrong_constant|if part == "." then
      if #out > 0 then out[#out] = nil end   @@missing_update|if #out > 0 then break end   @@off_by_one|if #out > 1 then out[#out] = nil end   @@wrong_index|if #out > 0 then out[1] = nil end
    elseif part ~= "." then   @@negated_condition|elseif part == "." then   @@missing_edge_case|else
      out[#out + 1] = part   @@wrong_index|out[#out] = part
    end
  end
  return out   @@wrong_variable|return $parts
end

function paths.$common_depth($parts, $other)
  local depth = 0   @@wrong_initial_value|local depth = 1
  for i = 1, #$parts do   @@off_by_one|for i = 1, #$parts - 1 do
    if $parts[i] ~= $other[i] then break end   @@missing_break|if $parts[i] ~= $other[i] then depth = depth end   @@negated_condition|if $parts[i] == $other[i] then break end   @@wrong_index|if $parts[1] ~= $other[i] then break end
    depth = depth + 1   @@missing_update|depth = 1
  end
  return depth
end

function paths.$joined($parts, separator)
  separator = separator or "/"   @@wrong_default|separator = separator or "."   @@missing_nil_check|-
  return separator .. table.concat($parts, separator)   @@missing_update|return table.concat($parts, separator)   @@missing_return|separator = separator .. table.concat($parts, separator)   @@missing_argument|return separator .. table.concat($parts)
end

return paths
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <string>
#include <vector>

using Parts = std::vector<std::string>;

inline Parts $normalised(const Parts& $parts) {
  Parts out;
  for (const std::string& part : $parts) {
    if (part == ".") continue;   @@wrong_constant|if (part == "/") continue;   @@missing_edge_case|-   @@wrong_jump|if (part == ".") break;
    if (part != "..") {   @@negated_condition|if (part == "..") {
      out.push_back(part);
    } else if (!out.empty()) {   @@missing_nil_check|} else {
      out.pop_back();   @@wrong_function|out.clear();
    }
  }
  return out;
}

inline int $common_depth(const Parts& $parts, const Parts& $other) {
  const std::size_t shorter = std::min($parts.size(), $other.size());   @@wrong_function|const std::size_t shorter = std::max($parts.size(), $other.size());
  int depth = 0;
  for (std::size_t i = 0; i < shorter; ++i) {   @@off_by_one|for (std::size_t i = 1; i < shorter; ++i) {
    if ($parts[i] != $other[i]) break;   @@missing_break|if ($parts[i] != $other[i]) continue;   @@negated_condition|if ($parts[i] == $other[i]) break;
    ++depth;
  }
  return depth;
}

inline std::string $joined(const Parts& $parts) {
  std::string out;
  for (const std::string& part : $parts) out += "/" + part;   @@missing_update|for (const std::string& part : $parts) out = "/" + part;   @@swapped_operands|for (const std::string& part : $parts) out += part + "/";
  return out.empty() ? "/" : out;   @@missing_edge_case|return out;   @@swapped_results|return out.empty() ? out : "/";
}
]==],
}
