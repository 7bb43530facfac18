#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"
#include "tools/web/local_index.h"

/// `ponder index`: a search index over the documents of a folder.
namespace ponder::cli {
namespace {

constexpr std::uint32_t kHitsShown = 8;

void print_report(const tools::IndexReport& report, const std::filesystem::path& file, bool json) {
  if (json) {
    const nlohmann::json line = {{"file", file.string()},
                                 {"added", report.added},
                                 {"changed", report.changed},
                                 {"unchanged", report.unchanged},
                                 {"removed", report.removed},
                                 {"text_bytes", report.text_bytes},
                                 {"problems", report.problems},
                                 {"num_problems", report.num_problems},
                                 {"is_complete", report.is_complete}};
    fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("{}: {} documents added, {} changed, {} unchanged, {} removed\n", file.string(),
             report.added, report.changed, report.unchanged, report.removed);
  for (const std::string& problem : report.problems) {
    fmt::print(stderr, "left out: {}\n", printable(problem));
  }
  if (report.num_problems > report.problems.size()) {
    fmt::print(stderr, "left out: {} files in all\n", report.num_problems);
  }
  if (!report.is_complete) {
    fmt::print(stderr, "not all of the folder could be seen, so nothing was removed\n");
  }
}

int print_hits(const std::filesystem::path& file, const std::string& words) {
  auto index = tools::LocalIndex::open(file);
  if (!index) return complain(index.error().message);
  const auto hits = index->search(words, kHitsShown, 0);
  if (!hits) return complain(hits.error().message);
  for (const tools::SearchHit& hit : *hits) {
    fmt::print("{}  {}\n  {}\n  {}\n", hit.date, printable(hit.address), printable(hit.title),
               printable(hit.snippet));
  }
  return 0;
}

}  // namespace

int index(const IndexCommand& command) {
  const std::filesystem::path file =
      command.out.empty() ? tools::index_file_of(command.folder) : command.out;
  const auto report = tools::update_index(command.folder, file, tools::IndexOptions());
  if (!report) return complain(report.error().message);
  print_report(*report, file, command.json);
  return command.find.empty() ? 0 : print_hits(file, command.find);
}

}  // namespace ponder::cli
