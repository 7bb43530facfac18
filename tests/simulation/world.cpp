#include "tests/simulation/world.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "base/assert.h"

namespace ponder::simulation {
namespace asio = boost::asio;
using namespace runtime;
using std::chrono::milliseconds;

namespace {

// A dozen sessions whose models are dead wait for hours, while people go on talking to them.
constexpr std::uint64_t kStepsMax = 4'000'000;
constexpr std::uint64_t kStepsToDie = 20'000;
constexpr std::uint64_t kDisastersMax = 4;
constexpr std::uint64_t kStepsToDisaster = 600;

}  // namespace

World::World(Plan plan, std::filesystem::path folder, bool is_told)
    : scene_(std::move(plan), is_told),
      witness_(scene_),
      random_(scene_.plan.seed, "world"),
      disk_(scene_.clock, Random(scene_.plan.seed, "disk")),
      folder_(std::move(folder)) {}

World::~World() {
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (!processes_[i]) continue;
    kill(i);
    bury(i);
  }
}

std::vector<SessionFacts*> World::sessions_of(std::size_t index) {
  std::vector<SessionFacts*> out;
  const bool shares = scene_.plan.has(Fault::rival);
  for (const auto& session : witness_.sessions()) {
    if (session->root != nullptr) continue;
    if (shares || session->number % processes_.size() == index) out.push_back(session.get());
  }
  return out;
}

Outcome World::run() {
  scene_.story.say("seed {}: {}", scene_.plan.seed, scene_.plan.describe());
  const auto guard = asio::make_work_guard(scene_.home);
  for (std::size_t i = 0; i < scene_.plan.num_sessions; ++i) {
    witness_.begin(SessionId()).turns = scene_.plan.turns;
  }
  processes_.resize(scene_.plan.has(Fault::rival) ? 2 : 1);
  for (std::size_t i = 0; i < processes_.size(); ++i) replace(i);
  while (!scene_.story.violation()) {
    strike();
    if (step()) continue;
    bool is_over = true;
    for (const auto& process : processes_) is_over = is_over && process->is_idle();
    if (is_over) break;
    if (advance_time()) continue;
    scene_.story.violated("liveness", "nothing runs, and nothing will");
  }
  if (!scene_.story.violation()) finish();
  Outcome out;
  out.hash = scene_.story.hash();
  out.steps = steps_;
  for (const auto& session : witness_.sessions()) out.events += session->log.size();
  out.violation = scene_.story.violation();
  return out;
}

bool World::step() {
  if (++steps_ > kStepsMax) scene_.story.violated("liveness", "{} steps and no end", steps_);
  const bool disk_first = random_.chance(15);
  if (!disk_first && scene_.home.poll_one() > 0) return true;
  for (const auto& process : processes_) {
    if (scene_.clock.now() < process->disk_ready_at()) continue;
    if (process->write_one(random_)) return true;
  }
  return disk_first && scene_.home.poll_one() > 0;
}

bool World::advance_time() {
  if (scene_.time.ring_one(scene_.clock.now())) return true;
  std::optional<Clock::Instant> next = scene_.time.next();
  const auto consider = [&](Clock::Instant at) {
    const bool is_ahead = at > scene_.clock.now();
    if (is_ahead && (!next || at < *next)) next = at;
  };
  for (const auto& process : processes_) consider(process->disk_ready_at());
  if (trouble_until_) consider(*trouble_until_);
  if (!next) return false;
  scene_.clock.advance_to(*next);
  if (trouble_until_ && scene_.clock.now() >= *trouble_until_) {
    trouble_until_.reset();
    disk_.set_trouble(DiskTrouble::none);
    scene_.story.say("the disk is well again");
  }
  return true;
}

void World::strike() {
  if (random_.below(kStepsToDisaster) != 0) return;
  const Plan& plan = scene_.plan;
  if (plan.strikes(Fault::clock_jump, random_)) {
    const std::int64_t ms = random_.between(-90'000'000, 90'000'000);
    scene_.story.say("the wall clock jumps by {} ms", ms);
    scene_.clock.jump(ms);
  }
  if (!trouble_until_) trouble_disk();
  if (num_disasters_ >= kDisastersMax) return;
  if (plan.has(Fault::power_cut) && random_.chance(50)) {
    ++num_disasters_;
    cut_power();
  } else if (plan.has(Fault::crash) && random_.chance(50)) {
    ++num_disasters_;
    const std::size_t index = random_.below(processes_.size());
    kill(index);
    bury(index);
    replace(index);
  }
}

void World::trouble_disk() {
  const Plan& plan = scene_.plan;
  DiskTrouble trouble = DiskTrouble::none;
  if (plan.strikes(Fault::full_disk, random_)) trouble = DiskTrouble::full;
  if (plan.strikes(Fault::failing_writes, random_)) trouble = DiskTrouble::writes;
  if (plan.strikes(Fault::failing_syncs, random_)) trouble = DiskTrouble::syncs;
  if (trouble == DiskTrouble::none) return;
  scene_.story.say("the disk fails, kind {}", static_cast<int>(trouble));
  disk_.set_trouble(trouble);
  trouble_until_ = scene_.clock.now() + random_.time_to(milliseconds(20'000));
}

void World::kill(std::size_t index) {
  scene_.story.say("p{} is killed", index);
  disk_.kill(index);
  processes_[index]->die();
}

void World::bury(std::size_t index) {
  auto& process = processes_[index];
  // Whatever it waits for was cancelled: it ends although no time passes.
  std::uint64_t steps = 0;
  while (!process->is_idle()) {
    const bool goes_on = scene_.home.poll_one() > 0 || process->write_one(random_);
    if (goes_on && ++steps < kStepsToDie) continue;
    scene_.story.violated("structure", "process {} does not end when it is cancelled", index);
    // What is left of it cannot be taken apart.
    fmt::print(stderr, "simulation: {}\n", scene_.story.violation()->what);
    std::abort();
  }
  while (scene_.home.poll_one() > 0) {
  }
  process.reset();
}

void World::cut_power() {
  scene_.story.say("the power is cut");
  for (std::size_t i = 0; i < processes_.size(); ++i) kill(i);
  for (std::size_t i = 0; i < processes_.size(); ++i) bury(i);
  disk_.cut_power();
  for (const auto& session : witness_.sessions()) session->power_was_cut = true;
  for (std::size_t i = 0; i < processes_.size(); ++i) replace(i);
}

void World::replace(std::size_t index) {
  disk_.revive(index);
  processes_[index] = std::make_unique<Process>(
      scene_, witness_, index, folder_, Random(scene_.plan.seed, "process", num_processes_).next());
  ++num_processes_;
  processes_[index]->boot(sessions_of(index));
}

void World::finish() {
  if (scene_.time.num_timers() > 0) {
    scene_.story.violated("structure", "{} timers are left", scene_.time.num_timers());
  }
  for (auto& process : processes_) process.reset();
  if (disk_.num_open() > 0) {
    scene_.story.violated("structure", "{} files are left open", disk_.num_open());
  }
  disk_.set_trouble(DiskTrouble::none);
  disk_.revive(0);
  const auto store = SqliteSessionStore::open(folder_ / "p0" / "sessions.db", scene_.clock);
  if (!store) return scene_.story.violated("loss", "the store: {}", store.error().message);
  for (const auto& session : witness_.sessions()) {
    if (session->id.value.empty()) continue;
    auto stored = (*store)->load(session->id);
    const bool may_be_gone = session->power_was_cut && session->num_durable == 0;
    if (!stored && may_be_gone) continue;
    if (!stored) return scene_.story.violated("loss", "{}", stored.error().message);
    witness_.reread(*session, *stored, session->power_was_cut);
    witness_.audit(*session, *stored, **store);
  }
}

Outcome simulate(const Plan& plan, const std::filesystem::path& folder, bool is_told) {
  World world(plan, folder, is_told);
  return world.run();
}

Process::Process(Scene& scene, Witness& witness, std::size_t number, std::filesystem::path folder,
                 std::uint64_t seed)
    : scene_(&scene),
      witness_(&witness),
      folder_(std::move(folder)),
      random_(seed, "process"),
      disk_ready_at_(scene.clock.now()),
      group_(scene.home.get_executor()) {
  facts_.number = number;
}

Process::~Process() { PONDER_ASSERT(is_idle()); }

void Process::boot(const std::vector<SessionFacts*>& sessions) {
  ++num_tasks_;
  group_.spawn(main(sessions));
}

void Process::die() {
  facts_.is_dead = true;
  const std::set<Timer*> stubborn = facts_.stubborn;
  for (Timer* timer : stubborn) timer->cancel();
  asio::post(scene_->home, [this] { group_.cancel(); });
}

bool Process::open_store() {
  StoreOptions options;
  options.synchronous = scene_->plan.synchronous;
  options.busy_ms_max = milliseconds(0);
  options.busy_outcome_ms_max = milliseconds(0);
  options.writer = disk_.get_executor();
  options.random = [this] { return static_cast<std::uint32_t>(random_.next()); };
  if (scene_->plan.has(Fault::small_log)) options.wal_pages_checkpoint = 4;
  const auto file = folder_ / fmt::format("p{}", facts_.number) / "sessions.db";
  auto store = SqliteSessionStore::open(file, scene_->clock, options);
  if (store) store_ = std::move(*store);
  if (!store) scene_->story.say("p{} cannot start: {}", facts_.number, store.error().message);
  return store.has_value();
}

asio::awaitable<void> Process::main(std::vector<SessionFacts*> sessions) {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!facts_.is_dead && !open_store()) {
    co_await scene_->pause(milliseconds(1000));
  }
  for (SessionFacts* session : sessions) {
    if (facts_.is_dead) break;
    ++num_tasks_;
    group_.spawn(serve(session));
  }
  --num_tasks_;
}

asio::awaitable<void> Process::serve(SessionFacts* session) {
  co_await asio::this_coro::throw_if_cancelled(false);
  {
    UserPowers powers;
    powers.store = store_.get();
    powers.adopt = [this](SessionFacts& fork) {
      ++num_tasks_;
      group_.spawn(serve(&fork));
    };
    User user(*scene_, *witness_, facts_, *session, std::move(powers), random_.next());
    co_await user.drive();
  }
  --num_tasks_;
}

bool Process::write_one(Random& random) {
  disk_.restart();
  if (disk_.poll_one() == 0) return false;
  const bool is_slow = scene_->plan.strikes(Fault::slow_disk, random);
  const milliseconds busy = random.time_to(milliseconds(is_slow ? 30'000 : 8));
  disk_ready_at_ = scene_->clock.now() + busy;
  scene_->disk_busy += busy;
  scene_->disk_free_at = std::max(scene_->disk_free_at, disk_ready_at_);
  return true;
}

}  // namespace ponder::simulation
