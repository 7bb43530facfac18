#include "tools/code/test_environment.h"

namespace ponder::tools {

Variables project_environment() {
  // Python takes compiled code for current that is as old, to the second, and as long as the
  // source: an edit of one character would not be seen.
  return {{"PYTHONDONTWRITEBYTECODE", "1"}};
}

Variables test_environment() {
  Variables out = project_environment();
  // Twice "v": a project whose own settings say "-q" names its tests as well.
  out.emplace_back("PYTEST_ADDOPTS", "-vv -p no:cacheprovider");
  out.emplace_back("GOFLAGS", "-v");
  return out;
}

}  // namespace ponder::tools
