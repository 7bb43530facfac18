#include "kernels/cuda/emulator/fiber.h"

#include <cstdint>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PONDER_FIBERS_UNDER_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PONDER_FIBERS_UNDER_ASAN 1
#endif
#ifdef PONDER_FIBERS_UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
// swapcontext makes a system call each time, which would be most of what a test does. Six registers
// are what a called function keeps (System V ABI); the seventh word is where to go on.
extern "C" void ponder_switch_stack(void** saved_stack_pointer, void* stack_pointer);
asm(R"(
  .text
  .type ponder_switch_stack, @function
ponder_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size ponder_switch_stack, .-ponder_switch_stack
)");
#endif

namespace ponder::kernels::emulator {
namespace {

Fiber* running = nullptr;
#ifdef __x86_64__
void* scheduler_stack_pointer = nullptr;
#else
ucontext_t scheduler_context;
#endif
// What AddressSanitizer wants to know.
[[maybe_unused]] const void* scheduler_stack = nullptr;
[[maybe_unused]] std::size_t scheduler_stack_bytes = 0;
[[maybe_unused]] void* scheduler_fake_stack = nullptr;

}  // namespace

Fiber::Fiber(void (*body)()) : body_(body), stack_(std::make_unique<std::byte[]>(kStackBytes)) {
#ifdef __x86_64__
  constexpr std::size_t kRegisters = 6;
  std::byte* end = stack_.get() + kStackBytes;
  std::byte* top = end - reinterpret_cast<std::uintptr_t>(end) % 16;
  // As after a call: 8 bytes below a multiple of 16, which here is the place of no return address.
  auto* words = reinterpret_cast<void**>(top - sizeof(void*));
  *words = nullptr;
  *--words = reinterpret_cast<void*>(&Fiber::enter);
  for (std::size_t i = 0; i < kRegisters; ++i) *--words = nullptr;
  stack_pointer_ = static_cast<void*>(words);
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::enter, 0);
#endif
}

void Fiber::enter() {
  running->arrive_in_fiber();
  running->body_();
  std::abort();
}

void Fiber::resume() {
  running = this;
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, stack_.get(), kStackBytes);
#endif
#ifdef __x86_64__
  ponder_switch_stack(&scheduler_stack_pointer, stack_pointer_);
#else
  swapcontext(&scheduler_context, &context_);
#endif
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::yield() {
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, scheduler_stack, scheduler_stack_bytes);
#endif
#ifdef __x86_64__
  ponder_switch_stack(&stack_pointer_, scheduler_stack_pointer);
#else
  swapcontext(&context_, &scheduler_context);
#endif
  arrive_in_fiber();
}

void Fiber::arrive_in_fiber() {
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

}  // namespace ponder::kernels::emulator
