// Fiber: a stack of its own for each thread of a card's block, so that it can stop at a barrier and
// go on later. Switching is an exchange of a few registers: a test of attention switches millions
// of times, and swapcontext() calls the kernel each time.
#pragma once

#include <cstddef>

namespace slim::emulated {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next enter() calls `entry`, which ends with leave() and is not entered again.
  void begin(void (*entry)());
  // Runs the fiber until it leaves.
  void enter();
  // From inside: back to where enter() was called.
  void leave();

 private:
  static void start();

  std::byte* stack_ = nullptr;
  size_t top_ = 0;           // where in it the first frame begins
  void* inside_ = nullptr;   // the stack pointer of the fiber while it waits
  void* outside_ = nullptr;  // the same of who entered
  void (*entry_)() = nullptr;
};

}  // namespace slim::emulated
