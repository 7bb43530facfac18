#pragma once

// CUDA's execution model on one CPU thread, for tests: a kernel's source compiles as plain C++ and
// each of its threads is a fiber. Threads of a block run one at a time, from barrier to barrier;
// blocks run one after the other.
//
// What it finds, as a Fault: a barrier that not all threads of the block (or warp) reach; an index
// beyond a shared array; shared memory that is read before it is written; two threads that touch
// the same shared element without a barrier between them, one of them writing.
//
// What it cannot find: races on global memory, between blocks or warps; anything that depends on
// the memory model, on the hardware's own arithmetic (exp2f, expf), or on limits of registers and
// resources. It says nothing about speed.
//
// Thread: none; one grid at a time.

#include <math.h>  // in the global namespace, as CUDA has it

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

// CUDA spells its keywords so.
// NOLINTBEGIN(bugprone-reserved-identifier)
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
// NOLINTEND(bugprone-reserved-identifier)

namespace ponder::kernels::emulator {

class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

/// Runs `kernel` once for every thread of every block. In which order the threads of a block run
/// follows from the seed. Requires: threads is a multiple of 32, at most 1024.
void run_grid(Dim3 grid, unsigned threads, const std::function<void()>& kernel);
void set_order_seed(std::uint64_t seed) noexcept;

/// What is launched: it runs now, or, between the two calls that follow, is kept to be run later.
void submit(std::function<void()> work);
void start_recording();
std::vector<std::function<void()>> stop_recording();
bool is_recording() noexcept;
/// Grids that were submitted and not recorded, since the program began.
std::uint64_t num_launches() noexcept;

void sync_block();
void sync_warp();
/// All lanes of the warp give a value; each gets that of the lane it names.
std::uint32_t exchange(std::uint32_t value, unsigned source_lane);
/// One bit for each lane of the warp.
std::uint32_t vote(bool predicate);
/// What a lane gives to a product of the whole warp: two operands of a tensor-core instruction.
struct Fragments {
  std::array<std::uint32_t, 4> a;
  std::array<std::uint32_t, 2> b;
};
/// Those of all lanes, valid until the warp's next exchange but one.
const std::array<Fragments, 32>& gather(const Fragments& own);

/// Who touched an element of shared memory last, and between which barriers.
struct Access {
  std::uint64_t block = 0;  // a serial number, 0: never
  std::uint32_t epoch = 0;  // barriers of the block before
  std::uint32_t warp_epoch = 0;
  std::uint16_t thread = 0;
  bool is_by_lanes = false;  // several of one warp
  bool is_by_warps = false;  // several
};
struct ElementHistory {
  Access read;
  Access write;
  Access atomic;
};
/// Off, it is only read and written: several times faster, for runs of whole models.
void watch_shared_memory(bool is_on) noexcept;
extern bool is_watched;
void note_read(ElementHistory& history);
void note_write(ElementHistory& history);
void note_atomic(ElementHistory& history);
[[noreturn]] void report_fault(std::string what);

/// Begins to copy 16 bytes into an element of shared memory: until the thread waits for its copies
/// the element holds bytes of 0xFF, so that who does not wait computes something else.
void start_copy(void* to, ElementHistory& history, const void* from);
void wait_for_copies();

extern Dim3 thread_index;
extern Dim3 block_index;
extern Dim3 block_size;
extern Dim3 grid_size;

}  // namespace ponder::kernels::emulator

namespace ponder::kernels {

inline const emulator::Dim3& threadIdx = emulator::thread_index;
inline const emulator::Dim3& blockIdx = emulator::block_index;
inline const emulator::Dim3& blockDim = emulator::block_size;
inline const emulator::Dim3& gridDim = emulator::grid_size;
using dim3 = emulator::Dim3;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

/// Shared memory of a block, watched.
template <class T, std::size_t N>
class SharedArray {
 public:
  class Element {
   public:
    Element(T& value, emulator::ElementHistory& history) : value_(value), history_(history) {}
    Element(const Element&) = default;
    operator T() const {
      if (emulator::is_watched) emulator::note_read(history_);
      return value_;
    }
    Element& operator=(T value) {
      if (emulator::is_watched) emulator::note_write(history_);
      value_ = value;
      return *this;
    }
    Element& operator=(const Element& other) { return *this = static_cast<T>(other); }

   private:
    T& value_;
    emulator::ElementHistory& history_;
  };

  Element operator[](std::size_t i) {
    check(i);
    return Element(values_[i], history_[i]);
  }
  void copy_async(std::size_t i, const void* from) {
    static_assert(sizeof(T) == 16);
    check(i);
    emulator::start_copy(&values_[i], history_[i], from);
  }
  T add_atomically(std::size_t i, T value) {
    check(i);
    if (emulator::is_watched) emulator::note_atomic(history_[i]);
    const T before = values_[i];
    values_[i] += value;
    return before;
  }

 private:
  void check(std::size_t i) const {
    if (i >= N) emulator::report_fault("index " + std::to_string(i) + " of a shared array");
  }
  std::array<T, N> values_{};
  std::array<emulator::ElementHistory, N> history_{};
};

// And its functions so.
// NOLINTBEGIN(bugprone-reserved-identifier)
inline void __syncthreads() { emulator::sync_block(); }
inline void __syncwarp() { emulator::sync_warp(); }
inline unsigned __ballot_sync(unsigned, bool predicate) { return emulator::vote(predicate); }
inline float __shfl_xor_sync(unsigned, float value, unsigned mask) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>(emulator::exchange(bits, (threadIdx.x % 32) ^ mask));
}
inline unsigned __shfl_xor_sync(unsigned, unsigned value, unsigned mask) {
  return emulator::exchange(value, (threadIdx.x % 32) ^ mask);
}
/// The value of the lane that is `delta` below; the lowest lanes get their own.
inline unsigned __shfl_up_sync(unsigned, unsigned value, unsigned delta) {
  const unsigned lane = threadIdx.x % 32;
  return emulator::exchange(value, lane < delta ? lane : lane - delta);
}
inline int __popc(unsigned value) { return std::popcount(value); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
/// Four products of signed bytes, added to `sum`.
inline int __dp4a(int a, int b, int sum) {
  for (int shift = 0; shift < 32; shift += 8) {
    sum += static_cast<std::int8_t>(a >> shift) * static_cast<std::int8_t>(b >> shift);
  }
  return sum;
}

/// The four bytes that `selector` names, a digit each, out of a (0..3) and b (4..7).
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = (std::uint64_t{b} << 32) | a;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    result |= static_cast<unsigned>(bytes >> (8 * (selector >> 4 * i & 7u)) & 0xffu) << 8 * i;
  }
  return result;
}
// NOLINTEND(bugprone-reserved-identifier)

template <class Args>
void launch(void (*kernel)(Args), dim3 grid, unsigned threads, const Args& args) {
  emulator::submit([kernel, grid, threads, args] {
    emulator::run_grid(grid, threads, [kernel, &args] { kernel(args); });
  });
}

template <class Memory, class Args>
void launch_with_memory(void (*kernel)(Args), dim3 grid, unsigned threads, const Args& args) {
  launch(kernel, grid, threads, args);
}
template <class Memory>
Memory& block_memory() {
  static Memory memory;
  return memory;
}

template <std::size_t N>
class SharedRow : public SharedArray<float, N> {};
template <std::size_t N>
float4 load_shared(SharedRow<N>& from, std::size_t i) {
  if (i % 4 != 0) emulator::report_fault("four elements from " + std::to_string(i) + " on");
  return {from[i], from[i + 1], from[i + 2], from[i + 3]};
}
template <std::size_t N>
void store_shared(SharedRow<N>& to, std::size_t i, const float4& four) {
  if (i % 4 != 0) emulator::report_fault("four elements from " + std::to_string(i) + " on");
  to[i] = four.x;
  to[i + 1] = four.y;
  to[i + 2] = four.z;
  to[i + 3] = four.w;
}

template <std::size_t N>
void copy_async(SharedArray<uint4, N>& to, std::size_t i, const void* from, bool is_there) {
  constexpr uint4 kNone{};
  to.copy_async(i, is_there ? from : &kNone);
}
inline void prefetch(const void*) {}
inline void wait_for_copies() { emulator::wait_for_copies(); }

}  // namespace ponder::kernels
