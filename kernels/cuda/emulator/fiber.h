#pragma once

#include <cstddef>
#include <memory>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace ponder::kernels::emulator {

/// A function with a stack of its own, which runs until it yields. AddressSanitizer is told of
/// every change of stacks.
///
/// Thread: none. One scheduler, which is no fiber itself, resumes all of them.
class Fiber {
 public:
  /// `body` begins with the first resume(), and never returns.
  explicit Fiber(void (*body)());
  Fiber(const Fiber&) = delete;
  /// What is on the stack is forgotten, not destroyed.
  ~Fiber() = default;

  /// By the scheduler: runs the fiber until it yields.
  void resume();
  /// By the running fiber.
  void yield();

 private:
  static constexpr std::size_t kStackBytes = std::size_t{256} << 10;
  static void enter();
  void arrive_in_fiber();

  void (*body_)();
  std::unique_ptr<std::byte[]> stack_;
#ifdef __x86_64__
  void* stack_pointer_;  // while it does not run
#else
  ucontext_t context_{};
#endif
  [[maybe_unused]] void* fake_stack_ = nullptr;  // of AddressSanitizer
};

}  // namespace ponder::kernels::emulator
