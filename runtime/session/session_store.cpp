#include "runtime/session/session_store.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <chrono>
#include <utility>

#include "base/assert.h"
#include "runtime/session/session_lines.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {

Result<SessionCopy> SessionStore::copy(const SessionId& session) const {
  SessionCopy out;
  PONDER_TRY(out.id, resolve(session.value));
  PONDER_TRY(out.records, load(out.id));
  for (const BlobRef& ref : fold(out.records).blobs) {
    auto text = load_blob(ref.hash);
    if (text) out.blobs.push_back({ref.hash, std::move(*text)});
  }
  return out;
}

Status SessionStore::lease(const SessionId&) { return {}; }
void SessionStore::release(const SessionId&) {}
WorkQueue* SessionStore::queue() { return nullptr; }
std::optional<boost::asio::any_io_executor> SessionStore::where_reads_wait() const {
  return std::nullopt;
}

RandomBits random_bits() {
  return [] {
    // std::random_device asks the processor, which can take fifty times as long in a virtual
    // machine.
    std::uint32_t bits = 0;
    const auto got = getrandom(&bits, sizeof(bits), 0);
    PONDER_ASSERT(got == ssize_t{sizeof(bits)});  // so few come all at once
    return bits;
  };
}

SessionId make_session_id(std::int64_t unix_ms, const RandomBits& random) {
  constexpr std::string_view kLetters = "0123456789abcdefghjkmnpqrstvwxyz";
  const std::chrono::milliseconds since_epoch(unix_ms);
  const auto at = std::chrono::time_point<std::chrono::system_clock>(since_epoch);
  std::string id = fmt::format("{:%Y%m%d-%H%M%S}-", fmt::gmtime(at));
  for (int i = 0; i < 8; ++i) id += kLetters[random() % kLetters.size()];
  return SessionId{std::move(id)};
}

}  // namespace ponder::runtime
