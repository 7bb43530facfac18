// Runs inside the sandbox, between bubblewrap and a program, and tells how the program ended.
// bubblewrap tells a signal as a shell does, by an exit code over 128, which a program may give as
// well. This one writes the status as wait(2) gives it to a descriptor that the program does not
// get, and ends as a shell would.
//
// usage: waiter DESCRIPTOR PROGRAM [ARGUMENT...]
//
// It is part of ponder (waiter_image.S) and laid into each sandbox, so it uses the C library alone.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kNotRun = 127;
constexpr int kShellSignalBase = 128;

[[noreturn]] void become(char** argv, int report, const sigset_t& signals) {
  fcntl(report, F_SETFD, FD_CLOEXEC);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  execvp(argv[0], argv);
  perror(argv[0]);
  _exit(kNotRun);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return kNotRun;
  const int report = atoi(argv[1]);
  // What is sent to the program's whole group is the program's to deal with, and not the end of it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t program = fork();
  if (program < 0) {
    perror("fork");
    return kNotRun;
  }
  if (program == 0) become(argv + 2, report, before);
  int status = 0;
  while (waitpid(program, &status, 0) < 0) {
    if (errno != EINTR) return kNotRun;
  }
  // Should nobody read it any more, nobody waits for it either.
  const ssize_t ignored = write(report, &status, sizeof status);
  (void)ignored;
  return WIFSIGNALED(status) ? kShellSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}
