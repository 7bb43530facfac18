#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/cli/commands.h"
#include "runtime/cli/terminal.h"
#include "tools/web/local_index.h"

/// `ponder index`: a search index over the documents of a folder.
namespace ponder::cli {
namespace {

constexpr std::uint32_t kHitsShown = 8;

using Hits = std::vector<tools::SearchHit>;

void print_json(const tools::IndexReport& report, const std::filesystem::path& file,
                const std::optional<Hits>& hits) {
  nlohmann::json line = {{"file", file.string()},
                         {"added", report.added},
                         {"changed", report.changed},
                         {"unchanged", report.unchanged},
                         {"removed", report.removed},
                         {"text_bytes", report.text_bytes},
                         {"problems", report.problems},
                         {"num_problems", report.num_problems},
                         {"is_complete", report.is_complete}};
  if (hits) line["hits"] = nlohmann::json::array();
  for (const tools::SearchHit& hit : hits.value_or(Hits())) {
    line["hits"].push_back({{"address", hit.address},
                            {"title", hit.title},
                            {"date", hit.date},
                            {"snippet", hit.snippet}});
  }
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_report(const tools::IndexReport& report, const std::filesystem::path& file) {
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

Result<Hits> find(const std::filesystem::path& file, const std::string& words) {
  PONDER_TRY(auto index, tools::LocalIndex::open(file));
  PONDER_TRY(auto hits, index.search(words, kHitsShown, 0));
  return hits;
}

void print_hits(const Hits& hits, const std::string& words) {
  if (hits.empty()) fmt::print("nothing is found for \"{}\"\n", printable(words));
  for (const tools::SearchHit& hit : hits) {
    fmt::print("{}  {}\n  {}\n  {}\n", hit.date, printable(hit.address), printable(hit.title),
               printable(hit.snippet));
  }
}

}  // namespace

int index(const IndexCommand& command) {
  const std::filesystem::path file =
      command.out.empty() ? tools::index_file_of(command.folder) : command.out;
  const auto report = tools::update_index(command.folder, file, tools::IndexOptions());
  if (!report) {
    const bool is_ours = command.out.empty() && report.error().code == Errc::unavailable;
    return complain(report.error().message + (is_ours ? "; --out names another place" : ""));
  }
  std::optional<Hits> hits;
  if (!command.find.empty()) {
    auto found = find(file, command.find);
    if (!found) return complain(found.error().message);
    hits = std::move(*found);
  }
  if (command.json) {
    print_json(*report, file, hits);
    return 0;
  }
  print_report(*report, file);
  if (hits) print_hits(*hits, command.find);
  return 0;
}

}  // namespace ponder::cli
