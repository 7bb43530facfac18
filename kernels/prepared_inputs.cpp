#include "kernels/prepared_inputs.h"

#include <algorithm>

namespace ponder::kernels {
namespace {

constexpr std::size_t kAlignment = 64;
// As much as takes some microseconds: far longer than handing it out.
constexpr std::size_t kInputsPerTask = 16 * 1024;
// Products that share an input are neighbours, or nearly.
constexpr std::size_t kJobsBack = 4;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

bool have_same_input(const MatmulArgs& a, const MatmulArgs& b) {
  return a.x == b.x && a.x_stride == b.x_stride && a.m == b.m && a.k == b.k &&
         a.w_dtype == b.w_dtype && a.w_group == b.w_group && a.w_is_packed == b.w_is_packed &&
         a.may_round_x == b.may_round_x;
}

std::size_t rows_per_task(const MatmulArgs& args) {
  const std::size_t rows = kInputsPerTask / std::max<std::size_t>(1, args.k);
  return std::max(rows / kPreparedRowsMultiple, std::size_t{1}) * kPreparedRowsMultiple;
}

std::size_t num_tasks(const MatmulArgs& args) {
  return round_up(args.m, rows_per_task(args)) / rows_per_task(args);
}

}  // namespace

bool PreparedInputs::Buffer::reserve(std::size_t bytes) noexcept {
  if (bytes <= bytes_) return true;
  bytes = round_up(bytes, kAlignment);
  data_.reset();
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
  bytes_ = data_ == nullptr ? 0 : bytes;
  return data_ != nullptr;
}

bool PreparedInputs::begin(std::size_t num_jobs) noexcept {
  num_jobs_ = entries_.reserve(num_jobs * sizeof(Entry)) ? num_jobs : 0;
  return num_jobs_ > 0;
}

void PreparedInputs::add(const KernelTable& table, const MatmulArgs* jobs, std::size_t job,
                         std::size_t num_chunks) noexcept {
  for (std::size_t back = 1; back <= std::min(job, kJobsBack); ++back) {
    const Entry& earlier = entries()[job - back];
    if (!have_same_input(jobs[job], jobs[job - back])) continue;
    entries()[earlier.source].num_chunks += num_chunks;
    entries()[job] = {earlier.source, 0, 0, 0};
    return;
  }
  entries()[job] = {job, num_chunks, table.matmul_prepared_bytes(jobs[job]), 0};
}

void PreparedInputs::run(const KernelTable& table, ThreadPool& pool,
                         const MatmulArgs* jobs) noexcept {
  std::size_t bytes = 0;
  std::size_t tasks = 0;
  for (std::size_t job = 0; job < num_jobs_; ++job) {
    Entry& entry = entries()[job];
    const std::size_t size = round_up(entry.bytes, kAlignment);
    if (entry.num_chunks < 2 || size > kBytesMax - bytes) entry.bytes = 0;
    if (entry.bytes == 0) continue;
    entry.at = bytes;
    bytes += size;
    tasks += num_tasks(jobs[job]);
  }
  if (tasks == 0) return;
  if (!memory_.reserve(bytes)) {
    num_jobs_ = 0;
    return;
  }
  const std::size_t grain = std::max<std::size_t>(1, tasks / (std::size_t{8} * pool.num_threads()));
  pool.parallel_for(tasks, grain, [&](std::size_t begin, std::size_t end) {
    std::size_t job = 0;
    std::size_t first = 0;  // the job's first task
    for (std::size_t task = begin; task < end; ++task) {
      for (;; ++job) {
        const std::size_t here = entries()[job].bytes == 0 ? 0 : num_tasks(jobs[job]);
        if (task - first < here) break;
        first += here;
      }
      const std::size_t rows = rows_per_task(jobs[job]);
      const std::size_t row = (task - first) * rows;
      table.matmul_prepare(jobs[job], row, std::min(jobs[job].m, row + rows),
                           memory_.data() + entries()[job].at);
    }
  });
}

const void* PreparedInputs::of(std::size_t job) const noexcept {
  if (job >= num_jobs_) return nullptr;
  const Entry& entry = entries()[entries()[job].source];
  return entry.bytes == 0 ? nullptr : memory_.data() + entry.at;
}

}  // namespace ponder::kernels
