#pragma once

#include <sys/un.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tools/detail/unique_fd.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tests {

/// A host that a sandboxed process would like to reach: a secret file, a folder outside, listeners,
/// shared memory, a semaphore, a queue, an environment variable and a descriptor left open. All
/// gone with the object.
class SandboxHost {
 public:
  SandboxHost();
  ~SandboxHost();
  SandboxHost(const SandboxHost&) = delete;
  SandboxHost& operator=(const SandboxHost&) = delete;

  /// The writable folder, emptied.
  const std::filesystem::path& fresh_work();
  const std::filesystem::path& outside() const { return outside_; }
  /// The test's own files, readable inside.
  const std::filesystem::path& scripts() const { return scripts_; }
  /// What escapes.py reads from PONDER_TEST.
  std::string description() const;
  /// Puts the folder outside back into its first state.
  void reset_outside();
  /// What differs from reset_outside(); empty: nothing.
  std::string changes_outside() const;

  static constexpr const char* kSecretName = "PONDER_TEST_SECRET_VALUE";

 private:
  std::filesystem::path base_;
  std::filesystem::path work_;
  std::filesystem::path outside_;
  std::filesystem::path secret_;
  std::filesystem::path scripts_;
  std::string posix_shm_;
  std::string unix_abstract_;
  std::string unix_path_;
  int shm_id_ = -1;
  int sem_id_ = -1;
  int msg_id_ = -1;
  int shm_key_ = 0;
  int port_ = 0;
  std::vector<tools::UniqueFd> open_;
};

}  // namespace ponder::tests
