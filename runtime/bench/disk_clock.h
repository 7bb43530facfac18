#pragma once

#include <chrono>
#include <cstdint>

/// When the process waited for the disk: every fdatasync() of the program, which stands in front of
/// the C library's here, with the number of events that had been stamped when it began.
namespace ponder::bench {

using SteadyClock = std::chrono::steady_clock;

/// Forgets what was seen so far.
void reset_syncs();
std::uint64_t num_syncs();
/// The time in syncs since the last reset, in microseconds.
double sync_us();
/// An event is about to be written. Called by whoever writes.
void count_stamp();
/// The time within [from, to] in which a sync was under way, in microseconds, up to the end of the
/// first that began after `stamped` events had been stamped: that one took them to the disk, and
/// nobody waits for those after it.
double waited_us(SteadyClock::time_point from, SteadyClock::time_point to, std::uint64_t stamped);

}  // namespace ponder::bench
