// ponder_bench_local_index [--json] [--documents N] [--seed S] [--dir DIR] [--place DIR]
// [--queries]
//
// Times the local search index over N (default: 100,000) generated documents of some 300 words
// with a Zipf distribution over 50,000 made-up ones, in folders of 1000: the first run over the
// folder, a run with nothing to do, a run after one file in a hundred has changed; then queries of
// several kinds, each opened, ranked and cut into snippets as the tool does it.
//
// With --place the documents and the index stay in that folder, and a later run takes what it finds
// there; with --queries it asks only.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tools/web/local_index.h"

namespace ponder::bench {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

struct Options {
  bool json = false;
  int documents = 100'000;
  std::uint32_t seed = 1;
  fs::path dir = ".";
  fs::path place;  // empty: a new folder of `dir`, removed at the end
  bool only_queries = false;
};

constexpr std::size_t kVocabulary = 50'000;
constexpr int kWordsMean = 300;
constexpr int kQueries = 50;

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

/// Words that nobody has used, the n-th of them n times as rare as the first.
class Language {
 public:
  explicit Language(std::uint32_t seed) : random_(seed) {
    constexpr std::string_view kSyllables[] = {"ba",  "ke",  "li",  "mo", "nu",  "ra",
                                               "se",  "ti",  "vo",  "zu", "dar", "fen",
                                               "gil", "hop", "jun", "pas"};
    double sum = 0;
    for (std::size_t i = 0; i < kVocabulary; ++i) {
      std::string word;
      for (std::size_t rest = i + 16; rest > 0; rest /= 16) word += kSyllables[rest % 16];
      words_.push_back(word);
      sum += 1.0 / static_cast<double>(i + 1);
      sums_.push_back(sum);
    }
  }
  const std::string& word() {
    const double at = std::uniform_real_distribution<double>(0, sums_.back())(random_);
    const auto found = std::lower_bound(sums_.begin(), sums_.end(), at);
    return words_[static_cast<std::size_t>(found - sums_.begin())];
  }
  /// A word that stands between these places of the list, the most frequent one at 0.
  const std::string& word_between(std::size_t first, std::size_t last) {
    return words_[std::uniform_int_distribution<std::size_t>(first, last)(random_)];
  }
  std::string document() {
    std::string text = "# " + word() + " " + word() + "\n\n";
    const int words = kWordsMean / 2 + static_cast<int>(random_() % kWordsMean);
    for (int i = 0; i < words; ++i) {
      text += word();
      text += i % 60 == 59 ? "\n\n" : i % 12 == 11 ? ". " : " ";
    }
    return text;
  }

 private:
  std::mt19937 random_;
  std::vector<std::string> words_;
  std::vector<double> sums_;
};

fs::path file_of(const fs::path& folder, int number) {
  return folder / fmt::format("{:03}", number / 1000) / fmt::format("{:03}.md", number % 1000);
}

std::uint64_t write_corpus(const fs::path& folder, int documents, Language& language) {
  std::uint64_t bytes = 0;
  for (int i = 0; i < documents; ++i) {
    if (i % 1000 == 0) fs::create_directories(file_of(folder, i).parent_path());
    const std::string text = language.document();
    bytes += text.size();
    std::ofstream(file_of(folder, i)) << text;
  }
  return bytes;
}

class Run {
 public:
  Run(const Options& options, const fs::path& place)
      : options_(options),
        corpus_(place / "corpus"),
        index_(place / "index.db"),
        language_(options.seed) {}

  Status all() {
    if (!options_.only_queries) {
      PONDER_CHECK(all_of_index());
    }
    if (!options_.json) {
      fmt::print("\nindex: {:.1f} MB\n\n{:<34} {:>10} {:>12} {:>10}\n",
                 static_cast<double>(fs::file_size(index_)) / 1e6, "queries", "median ms",
                 "longest", "hits");
    }
    PONDER_CHECK(query("one rare word", 1, 5'000, 49'999));
    PONDER_CHECK(query("two rare words", 2, 5'000, 49'999));
    PONDER_CHECK(query("one common word", 1, 20, 200));
    PONDER_CHECK(query("three common words", 3, 20, 200));
    return query("the most frequent word", 1, 0, 0);
  }

 private:
  Status all_of_index() {
    if (!fs::exists(corpus_)) {
      const std::uint64_t bytes = write_corpus(corpus_, options_.documents, language_);
      if (!options_.json) {
        fmt::print("{} documents, {:.1f} MB\n", options_.documents,
                   static_cast<double>(bytes) / 1e6);
      }
    }
    if (!options_.json) fmt::print("\n{:<34} {:>10} {:>12}\n", "", "seconds", "documents/s");
    PONDER_CHECK(index("first run"));
    PONDER_CHECK(index("nothing changed"));
    for (int i = 0; i < options_.documents; i += 100) {
      std::ofstream(file_of(corpus_, i)) << language_.document() << "changed";
    }
    return index("one in a hundred changed");
  }

  Status index(const char* name) {
    const auto begin = SteadyClock::now();
    PONDER_TRY(const auto report, tools::update_index(corpus_, index_, tools::IndexOptions()));
    const double seconds = seconds_since(begin);
    const auto seen = static_cast<double>(report.added + report.changed + report.unchanged);
    fmt::print(fmt::runtime(options_.json ? "{{\"index\":\"{}\",\"seconds\":{:.2f},"
                                            "\"documents_per_s\":{:.0f}}}\n"
                                          : "{:<34} {:>10.2f} {:>12.0f}\n"),
               name, seconds, seen / seconds);
    std::fflush(stdout);
    return {};
  }

  Status query(const char* name, int words, std::size_t first, std::size_t last) {
    std::vector<double> times_ms;
    std::size_t hits = 0;
    for (int i = 0; i < kQueries; ++i) {
      std::string text;
      for (int word = 0; word < words; ++word) text += language_.word_between(first, last) + " ";
      const auto begin = SteadyClock::now();
      PONDER_TRY(auto index, tools::LocalIndex::open(index_));
      PONDER_TRY(const auto found, index.search(text, 8, 0));
      times_ms.push_back(1e3 * seconds_since(begin));
      hits += found.size();
    }
    std::sort(times_ms.begin(), times_ms.end());
    fmt::print(fmt::runtime(options_.json ? "{{\"query\":\"{}\",\"median_ms\":{:.2f},"
                                            "\"longest_ms\":{:.2f},\"hits\":{:.1f}}}\n"
                                          : "{:<34} {:>10.2f} {:>12.2f} {:>10.1f}\n"),
               name, times_ms[kQueries / 2], times_ms.back(), static_cast<double>(hits) / kQueries);
    std::fflush(stdout);
    return {};
  }

  Options options_;
  fs::path corpus_;
  fs::path index_;
  Language language_;
};

int report(const Status& done) {
  if (done) return 0;
  fmt::print(stderr, "{}\n", done.error().message);
  return 1;
}

int run(const Options& options) {
  if (!options.place.empty()) {
    fs::create_directories(options.place);
    return report(Run(options, options.place).all());
  }
  std::string place = (options.dir / "ponder-bench-XXXXXX").string();
  if (mkdtemp(place.data()) == nullptr) {
    fmt::print(stderr, "cannot make a folder in {}\n", options.dir.string());
    return 1;
  }
  const Status done = Run(options, place).all();
  std::error_code ignored;
  fs::remove_all(place, ignored);
  return report(done);
}

}  // namespace
}  // namespace ponder::bench

int main(int argc, char** argv) {
  ponder::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--json") {
      options.json = true;
    } else if (name == "--documents" && value != nullptr) {
      options.documents = std::max(1, std::atoi(argv[++i]));
    } else if (name == "--seed" && value != nullptr) {
      options.seed = static_cast<std::uint32_t>(std::atol(argv[++i]));
    } else if (name == "--dir" && value != nullptr) {
      options.dir = argv[++i];
    } else if (name == "--place" && value != nullptr) {
      options.place = argv[++i];
    } else if (name == "--queries") {
      options.only_queries = true;
    } else {
      fmt::print(stderr,
                 "usage: [--json] [--documents N] [--seed S] [--dir DIR] "
                 "[--place DIR] [--queries]\n");
      return 2;
    }
  }
  return ponder::bench::run(options);
}
