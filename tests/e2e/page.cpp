#include "tests/e2e/page.h"

#include <sstream>

namespace ponder::e2e {
namespace fs = std::filesystem;

std::vector<Block> blocks_of(const std::string& page) {
  std::vector<Block> blocks;
  std::istringstream lines(page);
  bool is_inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("```", 0) != 0) {
      if (is_inside) blocks.back().text += line + "\n";
      continue;
    }
    is_inside = !is_inside;
    if (!is_inside) continue;
    std::istringstream words(line.substr(3));
    Block block;
    words >> block.language >> block.name;
    blocks.push_back(block);
  }
  return blocks;
}

InFolder::InFolder(const fs::path& folder) : before_(fs::current_path()) {
  fs::current_path(folder);
}
InFolder::~InFolder() { fs::current_path(before_); }

}  // namespace ponder::e2e
