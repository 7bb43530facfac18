#include "tests/tools/sandbox/sandbox_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>  // mkdtemp
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace ponder::tests {
namespace {

namespace fs = std::filesystem;

void write_text(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }

std::string read_text(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

void need(bool is_done, const char* what) {
  if (!is_done) throw std::runtime_error(fmt::format("{}: {}", what, strerror(errno)));
}

/// Listens on a unix socket; `name` may begin with a zero byte.
tools::UniqueFd listen_unix(const std::string& name) {
  tools::UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  need(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
  need(listen(listener.get(), 8) == 0, "listen");
  return listener;
}

tools::UniqueFd listen_tcp(int* port) {
  tools::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  need(bind(listener.get(), raw, size) == 0 && listen(listener.get(), 64) == 0, "listen");
  need(getsockname(listener.get(), raw, &size) == 0, "getsockname");
  *port = ntohs(address.sin_port);
  return listener;
}

}  // namespace

SandboxHost::SandboxHost() {
  std::string name = "/var/tmp/ponder-sandbox-XXXXXX";
  need(mkdtemp(name.data()) != nullptr, "mkdtemp");
  base_ = fs::canonical(name);
  work_ = base_ / "work";
  outside_ = base_ / "outside";
  secret_ = base_ / "hidden" / "file";
  scripts_ = base_ / "scripts";
  for (const fs::path& folder : {work_, outside_, secret_.parent_path(), scripts_}) {
    fs::create_directory(folder);
  }
  write_text(secret_, "a secret");
  fs::copy_file("tests/tools/sandbox/escapes.py", scripts_ / "escapes.py");
  // Left open for children on purpose.
  open_.emplace_back(fcntl(open(secret_.c_str(), O_RDONLY), F_DUPFD, 40));
  setenv(kSecretName, "a secret", 1);
  posix_shm_ = fmt::format("ponder-test-{}", getpid());
  write_text("/dev/shm/" + posix_shm_, "a secret");
  unix_abstract_ = fmt::format("ponder-test-{}", getpid());
  unix_path_ = (base_ / "socket").string();
  open_.push_back(listen_unix(std::string(1, '\0') + unix_abstract_));
  open_.push_back(listen_unix(unix_path_));
  open_.push_back(listen_tcp(&port_));
  shm_key_ = getpid();
  shm_id_ = shmget(shm_key_, 4096, IPC_CREAT | 0666);
  need(shm_id_ >= 0, "shmget");
  sem_id_ = semget(IPC_PRIVATE, 1, 0600);
  need(sem_id_ >= 0 && semctl(sem_id_, 0, SETVAL, 1) == 0, "semget");
  msg_id_ = msgget(IPC_PRIVATE, 0600);
  const std::array<long, 2> message = {1, 0};  // its kind, and its bytes
  need(msg_id_ >= 0 && msgsnd(msg_id_, message.data(), sizeof(long), 0) == 0, "msgget");
  reset_outside();
}

SandboxHost::~SandboxHost() {
  std::error_code ignored;
  fs::remove_all(base_, ignored);
  fs::remove("/dev/shm/" + posix_shm_, ignored);
  shmctl(shm_id_, IPC_RMID, nullptr);
  semctl(sem_id_, 0, IPC_RMID);
  msgctl(msg_id_, IPC_RMID, nullptr);
}

const fs::path& SandboxHost::fresh_work() {
  for (const auto& entry : fs::directory_iterator(work_)) fs::remove_all(entry.path());
  return work_;
}

std::string SandboxHost::description() const {
  return fmt::format(
      R"({{"secret":"{}","outside":"{}","work":"{}","port":{},"unix_path":"{}",)"
      R"("unix_abstract":"{}","host_pid":{},"shm_key":{},"posix_shm":"{}","secret_name":"{}",)"
      R"("shm_id":{},"sem_id":{},"msg_id":{}}})",
      secret_.string(), outside_.string(), work_.string(), port_, unix_path_, unix_abstract_,
      getpid(), shm_key_, posix_shm_, kSecretName, shm_id_, sem_id_, msg_id_);
}

void SandboxHost::reset_outside() {
  for (const auto& entry : fs::directory_iterator(outside_)) fs::remove_all(entry.path());
  write_text(outside_ / "keep", "as it was");
  write_text(outside_ / "victim", "as it was");
}

std::string SandboxHost::changes_outside() const {
  std::string changes;
  for (const auto& entry : fs::directory_iterator(outside_)) {
    const std::string name = entry.path().filename().string();
    const bool is_known = name == "keep" || name == "victim";
    if (!is_known) changes += fmt::format("{} appeared; ", name);
  }
  for (const char* name : {"keep", "victim"}) {
    if (read_text(outside_ / name) != "as it was") changes += fmt::format("{} changed; ", name);
  }
  return changes;
}

}  // namespace ponder::tests
