#include "engine/page_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "engine/page_file.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using detail::Digest;
using detail::Sha256;

constexpr const char* kSuffix = ".page";
constexpr const char* kTemporary = ".writing";
constexpr std::chrono::milliseconds kMoment{2};

std::optional<Digest> digest_of(std::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const auto high = kDigits.find(hex[2 * i]);
    const auto low = kDigits.find(hex[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return digest;
}

}  // namespace

std::size_t PageStore::KeyHash::operator()(const Key& key) const noexcept {
  std::size_t hash = 0;
  std::memcpy(&hash, key.data(), sizeof hash);
  return hash;
}

PageStore::PageStore(fs::path dir, Limits limits, Digest identity, std::size_t page_bytes)
    : dir_(std::move(dir)), limits_(limits), identity_(identity), page_bytes_(page_bytes) {}

Result<std::unique_ptr<PageStore>> PageStore::open(fs::path dir, Limits limits, Digest identity,
                                                   std::size_t page_bytes) {
  std::unique_ptr<PageStore> store(new PageStore(std::move(dir), limits, identity, page_bytes));
  store->thread_ = std::thread([raw = store.get()] { raw->run(); });
  PONDER_CHECK(store->scan());
  return store;
}

PageStore::~PageStore() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

/// Files of any identity count: they share the limit.
Status PageStore::scan() {
  std::error_code error;
  const bool is_new = fs::create_directories(dir_, error);
  if (is_new) fs::permissions(dir_, fs::perms::owner_all, error);
  struct Found {
    FoundPageFile file;
    Key key;
  };
  std::vector<Found> found;
  for (auto it = fs::directory_iterator(dir_, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (it->path().extension() == kTemporary) remove_abandoned_file(it->path());
    if (it->path().extension() != kSuffix) continue;
    const auto key = digest_of(it->path().stem().string());
    const auto file = find_page_file(*it);
    if (key && file) found.push_back({*file, *key});
  }
  if (error) {
    return fail(Errc::unavailable, fmt::format("{}: {}", dir_.string(), error.message()));
  }
  std::ranges::sort(found, {}, [](const Found& page) { return page.file.used_at; });
  for (const Found& page : found) add(page.key, page.file.num_bytes);
  return {};
}

PageStore::Key PageStore::child(const Key& parent, std::span<const TokenId> tokens) {
  Sha256 sha;
  sha.add(std::as_bytes(std::span(parent)));
  sha.add(std::as_bytes(tokens));
  return sha.finish();
}

fs::path PageStore::path_of(const Key& key) const { return dir_ / (detail::hex(key) + kSuffix); }

void PageStore::write(const Key& key, std::span<const TokenId> tokens, const CopyPage& copy_page,
                      WhenBusy when_busy) {
  collect();
  if (contains(key)) return;
  Job job{.kind = Job::Kind::write,
          .key = key,
          .header = page_file_header(identity_, key, tokens, page_bytes_)};
  const std::uint64_t num_bytes = page_file_bytes(job.header, page_bytes_);
  if (num_bytes > limits_.bytes_max) return;
  {
    std::unique_lock lock(mutex_);
    const auto has_room = [this] {
      return queue_bytes_ == 0 || queue_bytes_ + page_bytes_ <= limits_.queue_bytes_max;
    };
    const bool fits = page_bytes_ <= limits_.queue_bytes_max && has_room();
    if (!fits && when_busy == WhenBusy::leave_out) {
      ++counters_.pages_left_out;
      return;
    }
    changed_.wait(lock, has_room);
  }
  job.rows.resize(page_bytes_);
  if (!copy_page(job.rows)) {
    ++counters_.pages_left_out;
    return;
  }
  ask(std::move(job));
  add(key, num_bytes);
}

PageStore::ReadId PageStore::start_read(const Key& key, std::span<const TokenId> tokens,
                                        std::byte* page) {
  const auto known = files_.find(key);
  PONDER_ASSERT(known != files_.end());
  used_.splice(used_.end(), used_, known->second.place);
  const ReadId id{++num_reads_};
  ask({.kind = Job::Kind::read,
       .key = key,
       .header = page_file_header(identity_, key, tokens, page_bytes_),
       .page = page,
       .read = id});
  return id;
}

std::vector<PageStore::Read> PageStore::take_reads() {
  collect();
  return std::exchange(reads_, {});
}

void PageStore::wait_a_moment() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kMoment, [this] { return !done_.empty() || num_open_ == 0; });
}

void PageStore::finish() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return num_open_ == 0; });
  }
  collect();
}

void PageStore::add(const Key& key, std::uint64_t bytes) {
  files_[key] = {used_.insert(used_.end(), key), bytes};
  counters_.bytes += bytes;
  while (counters_.bytes > limits_.bytes_max) {
    const Key oldest = used_.front();
    forget(oldest);
    ask({.kind = Job::Kind::remove, .key = oldest});
  }
}

void PageStore::forget(const Key& key) {
  const auto it = files_.find(key);
  if (it == files_.end()) return;
  counters_.bytes -= it->second.bytes;
  used_.erase(it->second.place);
  files_.erase(it);
}

void PageStore::ask(Job job) {
  {
    const std::lock_guard lock(mutex_);
    ++num_open_;
    queue_bytes_ += job.rows.size();
    asked_.push_back(std::move(job));
  }
  changed_.notify_all();
}

/// Takes note of what the thread has done.
void PageStore::collect() {
  std::vector<Job> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const Job& job : done) {
    if (job.kind == Job::Kind::write) {
      ++(job.is_right ? counters_.pages_written : counters_.pages_left_out);
    } else if (job.kind == Job::Kind::read) {
      ++(job.is_right ? counters_.pages_read : counters_.pages_refused);
      reads_.push_back({job.read, job.is_right});
    }
    if (job.kind != Job::Kind::remove && !job.is_right) forget(job.key);
  }
}

void PageStore::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopping_ || !asked_.empty(); });
    if (asked_.empty()) return;
    Job job = std::move(asked_.front());
    asked_.pop_front();
    lock.unlock();
    perform(job);
    lock.lock();
    queue_bytes_ -= job.rows.size();
    job.rows = {};
    done_.push_back(std::move(job));
    --num_open_;
    changed_.notify_all();
  }
}

/// On the store's thread.
void PageStore::perform(Job& job) {
  const fs::path path = path_of(job.key);
  std::error_code ignored;
  switch (job.kind) {
    case Job::Kind::write: {
      const auto name = fmt::format("{}-{}{}", getpid(), ++num_temporary_, kTemporary);
      job.is_right = write_page_file(path, dir_ / name, job.header, job.rows);
      break;
    }
    case Job::Kind::read:
      job.is_right = read_page_file(path, job.header, {job.page, page_bytes_});
      if (!job.is_right) fs::remove(path, ignored);
      break;
    case Job::Kind::remove:
      fs::remove(path, ignored);
      break;
  }
}

}  // namespace ponder::engine
