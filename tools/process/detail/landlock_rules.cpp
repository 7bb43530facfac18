#include "tools/process/detail/landlock_rules.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace ponder::tools {
namespace {

// The kernel's interface up to ABI 6. Debian 12's <linux/landlock.h> ends at ABI 2, so it is
// written down here (https://docs.kernel.org/userspace-api/landlock.html).
struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};
struct [[gnu::packed]] PathBeneathAttributes {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};
constexpr std::uint32_t kCreateRulesetVersion = 1U << 0;
constexpr int kRulePathBeneath = 1;

constexpr std::uint64_t kExecute = 1U << 0;
constexpr std::uint64_t kWriteFile = 1U << 1;
constexpr std::uint64_t kReadFile = 1U << 2;
constexpr std::uint64_t kReadDir = 1U << 3;
constexpr std::uint64_t kTruncate = 1U << 14;
constexpr std::uint64_t kIoctlDevice = 1U << 15;
constexpr std::uint64_t kAllFiles = (1U << 16) - 1;
/// Making devices, unix sockets and links across folders included; a writable folder grants all but
/// making devices.
constexpr std::uint64_t kMakeCharacterDevice = 1U << 6;
constexpr std::uint64_t kMakeBlockDevice = 1U << 11;
constexpr std::uint64_t kBindTcp = 1U << 0;
constexpr std::uint64_t kConnectTcp = 1U << 1;
constexpr std::uint64_t kScopeAbstractSockets = 1U << 0;
constexpr std::uint64_t kScopeSignals = 1U << 1;

constexpr std::uint64_t kRead = kExecute | kReadFile | kReadDir;
constexpr std::uint64_t kWrite =
    kAllFiles & ~(kMakeCharacterDevice | kMakeBlockDevice | kIoctlDevice);
constexpr std::uint64_t kDevice = kReadFile | kWriteFile | kTruncate | kIoctlDevice;
/// The kernel refuses rights of folders for a file.
constexpr std::uint64_t kOfFiles = kExecute | kWriteFile | kReadFile | kTruncate | kIoctlDevice;

Status allow(int ruleset, const std::filesystem::path& path, std::uint64_t access) {
  const UniqueFd beneath(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!beneath) return {};
  struct stat status = {};
  if (fstat(beneath.get(), &status) != 0) return {};
  PathBeneathAttributes rule{S_ISDIR(status.st_mode) ? access : access & kOfFiles, beneath.get()};
  if (syscall(SYS_landlock_add_rule, ruleset, kRulePathBeneath, &rule, 0) == 0) return {};
  return fail(Errc::unavailable,
              fmt::format("landlock: no rule for {}: {}", path.string(), strerror(errno)));
}

}  // namespace

int landlock_abi() {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, kCreateRulesetVersion);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Result<UniqueFd> make_landlock_ruleset(const LandlockPaths& paths) {
  const RulesetAttributes attributes{kAllFiles, kBindTcp | kConnectTcp,
                                     kScopeAbstractSockets | kScopeSignals};
  UniqueFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)));
  if (!ruleset) {
    return fail(Errc::unavailable, fmt::format("landlock: no ruleset: {}", strerror(errno)));
  }
  for (const auto& path : paths.readable) {
    PONDER_CHECK(allow(ruleset.get(), path, kRead));
  }
  for (const auto& path : paths.writable) {
    PONDER_CHECK(allow(ruleset.get(), path, kWrite));
  }
  for (const auto& path : paths.devices) {
    PONDER_CHECK(allow(ruleset.get(), path, kDevice));
  }
  return ruleset;
}

}  // namespace ponder::tools
