#include "tests/e2e/network_space.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/assert.h"
#include "tests/e2e/process.h"
#include "tests/e2e/running.h"

namespace ponder::e2e {
namespace {

constexpr const char* kIp = "/usr/sbin/ip";
constexpr const char* kSs = "/usr/bin/ss";

/// A process in a new network namespace that waits until it is killed; nothing where it may not.
std::optional<pid_t> start_holder() {
  int ends[2];
  PONDER_ASSERT(pipe(ends) == 0);
  const pid_t pid = fork();
  PONDER_ASSERT(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    const char answer = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
    if (write(ends[1], &answer, 1) != 1 || answer != 'y') _exit(1);
    while (true) pause();
  }
  close(ends[1]);
  char answer = 'n';
  const ssize_t count = read(ends[0], &answer, 1);
  close(ends[0]);
  if (count == 1 && answer == 'y') return pid;
  waitpid(pid, nullptr, 0);
  return std::nullopt;
}

void end_holder(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

/// What a program says in the namespace; its exit status is 0.
std::string said(pid_t network, std::vector<std::string> words) {
  const Scratch scratch;
  Running program({std::move(words), {}, network}, scratch / "output");
  const int status = program.wait();
  const std::string output = program.output();
  if (status != 0) fmt::print(stderr, "{}\n", output);
  PONDER_ASSERT(status == 0);
  return output;
}

}  // namespace

std::optional<std::string> why_no_networks() {
  for (const char* program : {kIp, kSs, "/usr/bin/nsenter"}) {
    if (access(program, X_OK) != 0) {
      return fmt::format("{} is not installed (iproute2, util-linux)", program);
    }
  }
  const auto holder = start_holder();
  if (!holder) return "no network namespaces can be made here (that needs CAP_SYS_ADMIN)";
  const Scratch scratch;
  const int status =
      run_to_end({{kIp, "link", "add", "one", "type", "veth", "peer", "name", "two"}, {}, *holder},
                 scratch / "output");
  end_holder(*holder);
  if (status == 0) return std::nullopt;
  return "no network devices can be made here (that needs CAP_NET_ADMIN and veth): " +
         read_file(scratch / "output");
}

NetworkSpace::NetworkSpace() {
  const auto holder = start_holder();
  PONDER_ASSERT(holder.has_value());
  holder_ = *holder;
}

NetworkSpace::~NetworkSpace() { end_holder(holder_); }

void NetworkSpace::ip(std::vector<std::string> words) const {
  words.insert(words.begin(), kIp);
  said(holder_, std::move(words));
}

void NetworkSpace::connect(const std::string& device, const std::string& address,
                           const NetworkSpace& other, const std::string& other_device,
                           const std::string& other_address) {
  ip({"link", "add", device, "type", "veth", "peer", "name", other_device, "netns",
      std::to_string(other.holder_)});
  ip({"addr", "add", address, "dev", device});
  set_link(device, true);
  other.ip({"addr", "add", other_address, "dev", other_device});
  other.ip({"link", "set", other_device, "up"});
}

void NetworkSpace::set_link(const std::string& device, bool is_up) {
  ip({"link", "set", device, is_up ? "up" : "down"});
}

std::vector<std::string> NetworkSpace::peers() const {
  std::istringstream lines(said(holder_, {kSs, "-Htn", "state", "established"}));
  std::vector<std::string> out;
  for (std::string line; std::getline(lines, line);) {
    // Bytes to be read, bytes on their way, this end, the other.
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 4; ++i) words >> word;
    out.push_back(word.substr(0, word.rfind(':')));
  }
  return out;
}

}  // namespace ponder::e2e
