#pragma once

#include <filesystem>
#include <string>
#include <vector>

/// Pages of docs/ whose files and commands are tried as they stand.
namespace ponder::e2e {

/// A fenced block: "```lua desk.lua" has the language lua and the name desk.lua.
struct Block {
  std::string language;
  std::string name;
  std::string text;
};

/// The blocks of a page, in order.
std::vector<Block> blocks_of(const std::string& page);

/// Makes a folder the current one until the end of its scope.
class InFolder {
 public:
  explicit InFolder(const std::filesystem::path& folder);
  ~InFolder();
  InFolder(const InFolder&) = delete;
  InFolder& operator=(const InFolder&) = delete;

 private:
  std::filesystem::path before_;
};

}  // namespace ponder::e2e
