#pragma once

#include "runtime/session/session_store.h"

namespace ponder::runtime {

/// The fresh id under which `make(id)` began a session.
template <class Make>
Result<SessionId> with_fresh_id(SessionStore& store, Make make) {
  for (int tried = 1;; ++tried) {
    SessionId id = store.new_id();
    const Status made = make(id);
    if (made) return id;
    const bool may_be_taken = made.error().code == Errc::invalid_argument;
    if (!may_be_taken || tried == kIdsTriedMax) return tl::unexpected<Error>(made.error());
  }
}

}  // namespace ponder::runtime
