// The emulator itself: it must find what it claims to find, or the kernels' tests prove nothing.

#include "kernels/cuda/simt.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace ponder::kernels {
namespace {

using emulator::Fault;
using ::testing::HasSubstr;

/// What the fault of running `kernel` on one block of 64 threads says; "" for none.
std::string fault_of(const std::function<void()>& kernel, unsigned threads = 64) {
  try {
    emulator::run_grid({}, threads, kernel);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

TEST(Simt, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(2 * 3 * 5 * 64);
  emulator::run_grid({2, 3, 5}, 64, [&] {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    ++runs[block * blockDim.x + threadIdx.x];
  });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST(Simt, AThreadSeesWhatOthersWroteBeforeTheBarrier) {
  std::vector<int> seen(64);
  for (const std::uint64_t seed : {0, 1, 2}) {
    emulator::set_order_seed(seed);
    const auto fault = fault_of([&] {
      __shared__ SharedArray<int, 64> values;
      values[threadIdx.x] = static_cast<int>(threadIdx.x * threadIdx.x);
      __syncthreads();
      seen[threadIdx.x] = values[63 - threadIdx.x];
    });
    EXPECT_EQ(fault, "");
    for (int i = 0; i < 64; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], (63 - i) * (63 - i));
  }
  emulator::set_order_seed(0);
}

TEST(Simt, ShufflesAndVotesReachTheWholeWarpAndNoOther) {
  std::vector<float> sums(64);
  std::vector<unsigned> votes(64);
  EXPECT_EQ(fault_of([&] {
              sums[threadIdx.x] = warp_sum(static_cast<float>(threadIdx.x));
              votes[threadIdx.x] = __ballot_sync(kAllLanes, threadIdx.x % 3 == 0);
            }),
            "");
  for (unsigned i = 0; i < 64; ++i) {
    EXPECT_EQ(sums[i], i < 32 ? 496.0F : 1520.0F);
    for (unsigned l = 0; l < 32; ++l) {
      EXPECT_EQ(votes[i] >> l & 1U, (i / 32 * 32 + l) % 3 == 0 ? 1U : 0U);
    }
  }
}

TEST(Simt, SumsOfTheThreadsBeforeOneReachAcrossWarps) {
  std::vector<unsigned> before(96);
  std::vector<unsigned> totals(96);
  EXPECT_EQ(fault_of(
                [&] {
                  __shared__ SharedArray<unsigned, 3> scratch;
                  before[threadIdx.x] = sum_before(threadIdx.x, scratch, totals[threadIdx.x]);
                },
                96),
            "");
  for (unsigned i = 0; i < 96; ++i) {
    EXPECT_EQ(before[i], i * (i - 1) / 2) << i;
    EXPECT_EQ(totals[i], 96U * 95U / 2U);
  }
}

TEST(Simt, CountsBeforeAThreadAreWhatTheirNameSays) {
  std::vector<int> before(96);
  EXPECT_EQ(fault_of(
                [&] {
                  __shared__ SharedArray<int, 32> counts;
                  int total = 0;
                  before[threadIdx.x] = count_before(threadIdx.x % 2 == 1, counts, total);
                  if (total != 48) before[threadIdx.x] = -1;
                },
                96),
            "");
  for (int i = 0; i < 96; ++i) EXPECT_EQ(before[static_cast<std::size_t>(i)], i / 2);
}

TEST(Simt, ABarrierThatSomeThreadsMissIsAFault) {
  EXPECT_THAT(fault_of([] {
                if (threadIdx.x < 40) __syncthreads();
              }),
              HasSubstr("divergent barrier: of 64 threads 40 wait for the block"));
  EXPECT_THAT(fault_of([] {
                if (threadIdx.x < 32) {
                  __syncthreads();
                } else {
                  warp_sum(1.0F);
                  if (threadIdx.x == 40) __syncwarp();
                }
              }),
              HasSubstr("divergent barrier"));
}

TEST(Simt, ReadingWhatAnotherThreadWroteWithoutABarrierIsAFault) {
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<int, 64> values;
                values[threadIdx.x] = 1;
                values[threadIdx.x] = values[(threadIdx.x + 1) % 64];
              }),
              ::testing::AnyOf(HasSubstr("race on shared memory"), HasSubstr("before it is")));
}

TEST(Simt, OverwritingWhatOthersMayStillReadIsAFault) {
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<int, 1> value;
                if (threadIdx.x == 0) value[0] = 1;
                __syncthreads();
                const int seen = value[0];
                if (threadIdx.x == 63) value[0] = seen + 1;
              }),
              HasSubstr("race on shared memory: write"));
}

TEST(Simt, ABarrierOfTheWarpOrdersItsOwnLanesOnly) {
  const auto kernel = [](unsigned distance) {
    return [distance] {
      __shared__ SharedArray<int, 64> values;
      values[threadIdx.x] = 1;
      __syncwarp();
      const int seen = values[(threadIdx.x + distance) % 64];
      __syncwarp();
      values[threadIdx.x] = seen;
    };
  };
  EXPECT_EQ(fault_of([] {
              __shared__ SharedArray<int, 64> values;
              values[threadIdx.x] = 1;
              __syncwarp();
              const int seen = values[threadIdx.x ^ 1U];
              __syncwarp();
              values[threadIdx.x] = seen;
            }),
            "");
  EXPECT_NE(fault_of(kernel(32)), "");
}

TEST(Simt, CountingAtomicallyIsNoRaceButReadingTheCountsIs) {
  const auto count = [](bool has_barrier) {
    return [has_barrier] {
      __shared__ SharedArray<int, 1> counter;
      if (threadIdx.x == 0) counter[0] = 0;
      __syncthreads();
      counter.add_atomically(0, 1);
      if (has_barrier) __syncthreads();
      if (counter[0] != 64) emulator::report_fault("wrong count");
    };
  };
  EXPECT_EQ(fault_of(count(true)), "");
  EXPECT_THAT(fault_of(count(false)), ::testing::Not(::testing::IsEmpty()));
}

TEST(Simt, SharedMemoryKeepsNothingFromTheBlockBefore) {
  const auto kernel = [] {
    __shared__ SharedArray<int, 64> values;
    if (blockIdx.x == 0) values[threadIdx.x] = 1;
    __syncthreads();
    const int seen = values[threadIdx.x];
    if (seen != 1) emulator::report_fault("wrong value");
  };
  EXPECT_EQ(fault_of(kernel), "");
  EXPECT_THROW(emulator::run_grid({2, 1, 1}, 64, kernel), Fault);
}

constexpr uint4 kGlobal{1, 2, 3, 4};

TEST(Simt, WhatIsCopiedAsynchronouslyIsThereAfterTheWaitAndABarrier) {
  EXPECT_EQ(fault_of([] {
              __shared__ SharedArray<uint4, 64> values;
              copy_async(values, threadIdx.x, &kGlobal, threadIdx.x % 2 == 0);
              wait_for_copies();
              __syncthreads();
              const unsigned other = (threadIdx.x + 33) % 64;
              const uint4 seen = values[other];
              if (seen.w != (other % 2 == 0 ? 4U : 0U)) emulator::report_fault("wrong value");
            }),
            "");
}

TEST(Simt, WithoutTheWaitACopyIsNotThere) {
  EXPECT_EQ(fault_of([] {
              __shared__ SharedArray<uint4, 64> values;
              copy_async(values, threadIdx.x, &kGlobal, true);
              __syncthreads();
              const uint4 seen = values[threadIdx.x];
              if (seen.w == 4) emulator::report_fault("it is there");
              wait_for_copies();
            }),
            "");
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<uint4, 64> values;
                copy_async(values, threadIdx.x, &kGlobal, true);
              }),
              HasSubstr("not waited for"));
}

TEST(Simt, ACopyIsAWriteForThoseWhoReadWithoutABarrier) {
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<uint4, 64> values;
                copy_async(values, threadIdx.x, &kGlobal, true);
                wait_for_copies();
                const uint4 seen = values[(threadIdx.x + 1) % 64];
                if (seen.w != 4) emulator::report_fault("wrong value");
              }),
              ::testing::AnyOf(HasSubstr("race on shared memory"), HasSubstr("before it is")));
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<uint4, 64> values;
                copy_async(values, threadIdx.x, &kGlobal, true);
                wait_for_copies();
                __syncthreads();
                const uint4 seen = values[0];
                copy_async(values, threadIdx.x, &kGlobal, seen.w == 4);
                wait_for_copies();
              }),
              HasSubstr("race on shared memory"));
}

TEST(Simt, AnIndexBeyondSharedMemoryIsAFault) {
  EXPECT_THAT(fault_of([] {
                __shared__ SharedArray<int, 4> values;
                values[threadIdx.x] = 1;
              }),
              HasSubstr("index 4 of a shared array (block 0,0,0, thread 4)"));
}

TEST(Simt, FourElementsAtOnceAreFourAccesses) {
  EXPECT_THAT(fault_of(
                  [] {
                    __shared__ SharedRow<128> row;
                    store_shared(row, std::size_t{4} * threadIdx.x, {1, 2, 3, 4});
                    if (row[threadIdx.x] > 4.0F) return;  // of other threads
                  },
                  32),
              HasSubstr("race on shared memory"));
  EXPECT_THAT(fault_of(
                  [] {
                    __shared__ SharedRow<64> row;
                    store_shared(row, std::size_t{2} * threadIdx.x, {1, 2, 3, 4});
                  },
                  32),
              HasSubstr("four elements from 2 on"));
  EXPECT_THAT(fault_of(
                  [] {
                    __shared__ SharedRow<126> row;
                    store_shared(row, std::size_t{4} * threadIdx.x, {1, 2, 3, 4});
                  },
                  32),
              HasSubstr("index 126 of a shared array"));
}

}  // namespace
}  // namespace ponder::kernels
