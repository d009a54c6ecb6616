// Switching of stacks.
#include "emulator/fiber.h"

#include <sys/mman.h>

#include <new>

// Saves what a call must preserve on this stack, stores the stack pointer at `from`, and returns on
// the other stack, to whoever called there.
extern "C" void slim_switch_stack(void** from, void* to);
asm(R"(
.text
.globl slim_switch_stack
.type slim_switch_stack, @function
slim_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size slim_switch_stack, .-slim_switch_stack
)");

namespace slim::emulated {
namespace {

constexpr size_t kStack = size_t{128} << 10;
constexpr int kSaved = 6;  // registers
// Stacks begin at different lines of the cache, or those of a block would push each other out.
constexpr size_t kShift = 832;
constexpr size_t kShifts = 16384;

Fiber* current = nullptr;

}  // namespace

Fiber::Fiber() {
  void* const memory =
      mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stack_ = static_cast<std::byte*>(memory);
  static size_t count = 0;
  top_ = kStack - count++ * kShift % kShifts / 64 * 64;
}

Fiber::~Fiber() { munmap(stack_, kStack); }

void Fiber::start() { current->entry_(); }

void Fiber::begin(void (*entry)()) {
  entry_ = entry;
  // As if start() had been called and had switched away: saved registers, its address to return to,
  // and the address that it would return to itself.
  auto** top = reinterpret_cast<void**>(stack_ + top_);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::start);
  for (int i = 0; i < kSaved; ++i) *--top = nullptr;
  inside_ = top;
}

void Fiber::enter() {
  current = this;
  slim_switch_stack(&outside_, inside_);
}

void Fiber::leave() { slim_switch_stack(&inside_, outside_); }

}  // namespace slim::emulated
