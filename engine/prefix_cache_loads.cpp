// Pages on their way back from the disk into the tree.

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "engine/prefix_cache.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kReadsAhead = 4;  // of one prompt: enough to keep the disk busy

}  // namespace

PrefixCache::LoadStart PrefixCache::start_load(RequestId id, std::span<const TokenId> tokens,
                                               std::size_t num_spare, bool may_begin) {
  if (store_ == nullptr) return LoadStart::nothing;
  if (!may_begin || !has_room_to_stage()) {
    return is_next_on_disk(tokens) ? LoadStart::later : LoadStart::nothing;
  }
  auto load = std::make_unique<Load>(Load{.id = id,
                                          .tokens = {tokens.begin(), tokens.end()},
                                          .held = BlockTable(*pool_),
                                          .at = &root_,
                                          .key = root_.key,
                                          .flights = {}});
  for (Node* next = find_full(root_, tokens); next != nullptr;) {
    const bool is_idle = pool_->num_holders(next->page) == 0;
    if (is_idle && num_spare == 0) return LoadStart::nothing;
    num_spare -= is_idle ? 1 : 0;
    hold(*load, *next);
    next = find_full(*next, tokens.subspan(load->held.capacity()));
  }
  load->key = load->at->key;
  ask_for_pages(*load, num_spare);
  if (load->flights.empty()) return LoadStart::nothing;
  loads_.push_back(std::move(load));
  return LoadStart::begun;
}

/// Whether the first page of these tokens that is not in memory can be brought back.
bool PrefixCache::is_next_on_disk(std::span<const TokenId> tokens) const {
  const Node* at = &root_;
  while (const Node* next = find_full(*at, tokens)) {
    at = next;
    tokens = tokens.subspan(kPageTokens);
  }
  return tokens.size() >= kPageTokens &&
         store_->contains(PageStore::child(at->key, tokens.first(kPageTokens)));
}

void PrefixCache::hold(Load& load, Node& node) {
  pool_->share(node.page);
  load.held.append(node.page);
  load.at = &node;
}

/// Whether another page may be on its way through memory of the host. A load that has begun may
/// always have one, so there are at most twice as many as the limit says.
bool PrefixCache::has_room_to_stage() const {
  return (num_staged_ + 1) * pool_->layout().page_bytes <= store_->limits().staged_bytes_max ||
         num_staged_ == 0;
}

/// Begins to read the next pages, each into a page that nobody else is certain to need.
void PrefixCache::ask_for_pages(Load& load, std::size_t& num_spare) {
  while (!load.is_complete && load.flights.size() < kReadsAhead) {
    if (!load.flights.empty() && !has_room_to_stage()) return;
    const std::size_t page_idx = load.held.pages().size() + load.flights.size();
    load.is_complete = true;
    if ((page_idx + 1) * kPageTokens > load.tokens.size() || num_spare == 0) return;
    const auto tokens = load.page_tokens(page_idx);
    const PageStore::Key key = PageStore::child(load.key, tokens);
    if (!store_->contains(key)) return;
    const auto page = acquire();
    if (!page) return;
    --num_spare;
    std::vector<std::byte> staged;
    if (!pool_->is_on_host()) {
      staged.resize(pool_->layout().page_bytes);
      ++num_staged_;
    }
    std::byte* const to = staged.empty() ? pool_->data(*page) : staged.data();
    load.flights.push_back({store_->start_read(key, tokens, to), *page, std::move(staged)});
    load.key = key;
    load.is_complete = false;
  }
}

/// The first page under way has come.
void PrefixCache::take_page(Load& load, bool is_right) {
  const Load::Flight flight = std::move(load.flights.front());
  const PageId page = flight.page;
  load.flights.pop_front();
  if (!flight.staged.empty()) {
    --num_staged_;
    is_right = is_right && !load.has_failed && pool_->write(page, flight.staged);
  }
  load.has_failed = load.has_failed || !is_right;
  load.is_complete = load.is_complete || load.has_failed;
  if (!load.has_failed) {
    const auto tokens = load.page_tokens(load.held.pages().size());
    Node* node = find_full(*load.at, tokens);  // somebody may have computed it meanwhile
    if (node == nullptr) node = &add(*load.at, tokens, page, Origin::request);
    hold(load, *node);
  }
  pool_->release(page);
}

std::vector<RequestId> PrefixCache::take_loaded(std::size_t num_spare) {
  if (store_ == nullptr) return {};
  for (const PageStore::Read& read : store_->take_reads()) {
    const auto load = std::ranges::find_if(loads_, [&](const auto& candidate) {
      return !candidate->flights.empty() && candidate->flights.front().read == read.id;
    });
    PONDER_ASSERT(load != loads_.end());  // reads end in the order in which they began
    take_page(**load, read.is_right);
  }
  std::vector<RequestId> ended;
  std::erase_if(loads_, [&](const std::unique_ptr<Load>& load) {
    ask_for_pages(*load, num_spare);
    if (!load->flights.empty()) return false;
    ended.push_back(load->id);
    return true;
  });
  return ended;
}

void PrefixCache::cancel_load(RequestId id) {
  const auto load = std::ranges::find(loads_, id, [](const auto& known) { return known->id; });
  if (load == loads_.end()) return;
  (*load)->is_complete = true;
  (*load)->has_failed = true;
  (*load)->held.clear();
}

void PrefixCache::wait_for_load() {
  PONDER_ASSERT(is_loading());
  store_->wait_a_moment();
}

std::vector<RequestId> PrefixCache::end_loads() {
  std::vector<RequestId> ended;
  if (loads_.empty()) return ended;
  store_->finish();
  store_->take_reads();  // nobody wants them any more
  for (const auto& load : loads_) {
    for (const Load::Flight& flight : load->flights) pool_->release(flight.page);
    ended.push_back(load->id);
  }
  loads_.clear();
  num_staged_ = 0;
  return ended;
}

void PrefixCache::set_identity(const detail::Digest& identity) {
  PONDER_ASSERT(store_ != nullptr && root_.children.empty() && loads_.empty());
  store_->set_identity(identity);
  root_.key = store_->root();
}

}  // namespace ponder::engine
