#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "engine/detail/sha256.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// Cache pages on disk: those that memory has no room for, and those of earlier runs.
///
/// A page's name is a digest of the cache's identity (engine/cache_identity.h), all pages before it
/// and its own tokens, so only who would compute the same can find it. The file repeats name and
/// tokens and ends with a checksum of it all. A file that is torn, damaged or not what its name
/// says is refused and removed, and the page is computed again. Nothing is forced to the disk: a
/// file lost with the power costs only time.
///
/// Files are written, read and removed by a thread of the store, one after the other in the order
/// in which that was asked for. The index is ahead of it: a page that is to be written can be
/// asked for at once.
///
/// The files hold what conversations were about and are readable by their owner only, as is the
/// folder unless it was there before. When the limit is reached the least recently used go. Several
/// processes may share a folder.
///
/// Thread: none; the engine's thread.
class PageStore {
 public:
  struct Limits {
    std::uint64_t bytes_max;                               // on disk
    std::size_t queue_bytes_max = std::size_t{128} << 20;  // of pages that wait to be written
    // Of pages on their way to memory that the host cannot write to (PrefixCache).
    std::size_t staged_bytes_max = std::size_t{128} << 20;
  };
  /// Makes the folder if there is none. Fails with unavailable, naming it.
  static Result<std::unique_ptr<PageStore>> open(std::filesystem::path dir, Limits limits,
                                                 detail::Digest identity, std::size_t page_bytes);
  /// Finishes what was asked for.
  ~PageStore();

  using Key = detail::Digest;
  /// The name before the first page.
  const Key& root() const { return identity_; }
  const Limits& limits() const { return limits_; }
  /// From now on pages of another cache are written and read: somebody else computes them.
  void set_identity(const detail::Digest& identity) { identity_ = identity; }
  static Key child(const Key& parent, std::span<const TokenId> tokens);

  bool contains(const Key& key) const { return files_.contains(key); }

  /// What becomes of a page while too many wait to be written: left out, or waited for.
  enum class WhenBusy { leave_out, wait };
  /// Copies the page, of which it asks only where it is to be written. False: it cannot be read.
  using CopyPage = std::function<bool(std::span<std::byte> to)>;
  /// Takes a copy of the page, to be written unless it is there; what cannot be read, or the disk
  /// refuses, is left out.
  void write(const Key& key, std::span<const TokenId> tokens, const CopyPage& copy_page,
             WhenBusy when_busy);

  enum class ReadId : std::uint64_t {};
  /// Begins to read the page into memory that stays where it is until take_reads() tells the end.
  /// Requires: contains(key).
  ReadId start_read(const Key& key, std::span<const TokenId> tokens, std::byte* page);
  struct Read {
    ReadId id;
    bool is_right;  // false: not there or not what its name says; what was read is worth nothing
  };
  /// The reads that have ended since the last call, in the order in which they began.
  std::vector<Read> take_reads();

  /// Waits until something that was asked for has been done, but not for long: a disk may hang.
  void wait_a_moment();
  /// Waits until everything that was asked for has been done.
  void finish();

  struct Counters {
    std::uint64_t pages_written = 0;
    std::uint64_t pages_read = 0;
    std::uint64_t pages_refused = 0;   // damaged, or not what their name says
    std::uint64_t pages_left_out = 0;  // disk too slow or full, or the page could not be read
    std::uint64_t bytes = 0;           // on disk, or on the way
  };
  /// As of the last call of another method.
  const Counters& counters() const { return counters_; }

 private:
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  struct File {
    std::list<Key>::iterator place;
    std::uint64_t bytes = 0;
  };
  /// Something for the thread to do, and then what became of it.
  struct Job {
    enum class Kind { write, read, remove } kind = Kind::remove;
    Key key{};
    std::string header = {};
    std::vector<std::byte> rows = {};  // write
    std::byte* page = nullptr;         // read
    ReadId read{};
    bool is_right = false;
  };

  PageStore(std::filesystem::path dir, Limits limits, detail::Digest identity,
            std::size_t page_bytes);
  Status scan();
  std::filesystem::path path_of(const Key& key) const;
  void add(const Key& key, std::uint64_t bytes);
  void forget(const Key& key);
  void ask(Job job);
  void collect();
  void run();
  void perform(Job& job);

  std::filesystem::path dir_;
  Limits limits_;
  detail::Digest identity_;
  std::size_t page_bytes_;
  std::unordered_map<Key, File, KeyHash> files_;
  std::list<Key> used_;  // the least recently used first
  std::uint64_t num_reads_ = 0;
  std::uint64_t num_temporary_ = 0;  // the thread's
  std::vector<Read> reads_;          // that have ended and were not taken yet
  Counters counters_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Job> asked_;
  std::vector<Job> done_;
  std::size_t num_open_ = 0;     // asked for and not done
  std::size_t queue_bytes_ = 0;  // of rows among them
  bool is_stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace ponder::engine
