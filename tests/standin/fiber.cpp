#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if STANDIN_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if STANDIN_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__) || defined(STANDIN_UCONTEXT)
#define STANDIN_SWITCHES_BY_UCONTEXT 1
#include <ucontext.h>
#endif

namespace standin {
namespace {

constexpr std::size_t kGuard = 4096;
#if STANDIN_ASAN || STANDIN_TSAN
constexpr std::size_t kStack = 256 << 10;
#else
constexpr std::size_t kStack = 64 << 10;
#endif

}  // namespace

#if STANDIN_SWITCHES_BY_UCONTEXT

namespace {
// makecontext passes whole numbers only.
void trampoline(unsigned high, unsigned low, unsigned data_high, unsigned data_low) {
  const auto pointer = [](unsigned upper, unsigned lower) { return (std::uintptr_t{upper} << 32) | lower; };
  reinterpret_cast<void (*)(void*)>(pointer(high, low))(reinterpret_cast<void*>(pointer(data_high, data_low)));
}

void* first_context(char* stack, std::size_t size, void (*entry)(void*), void* data) {
  auto* context = new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = size;
  context->uc_link = nullptr;
  const auto half = [](auto pointer, int shift) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(pointer) >> shift);
  };
  makecontext(context, reinterpret_cast<void (*)()>(trampoline), 4, half(entry, 32), half(entry, 0), half(data, 32),
              half(data, 0));
  return context;
}

void switch_context(void** from, void* to) {
  if (*from == nullptr) *from = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(*from), static_cast<ucontext_t*>(to));
}

void free_context(void* context) { delete static_cast<ucontext_t*>(context); }
}  // namespace

#else

// swapcontext makes a system call for the signal mask at each switch; this only changes the stack.
extern "C" void standin_switch(void** from, void* to) __attribute__((visibility("hidden")));
extern "C" void standin_first() __attribute__((visibility("hidden")));
asm(R"(
.text
.globl standin_switch
.hidden standin_switch
.type standin_switch, @function
standin_switch:
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
.size standin_switch, .-standin_switch
.globl standin_first
.hidden standin_first
.type standin_first, @function
standin_first:
  movq %r12, %rdi
  call *%r13
  hlt
.size standin_first, .-standin_first
)");

namespace {
void* first_context(char* stack, std::size_t size, void (*entry)(void*), void* data) {
  // As if standin_first had been left by a switch: r15 r14 r13 r12 rbx rbp and the address to return to, placed so that
  // the stack is aligned for the call.
  auto** top = reinterpret_cast<void**>(stack + size) - 9;
  top[0] = top[1] = top[4] = top[5] = nullptr;
  top[2] = reinterpret_cast<void*>(entry);
  top[3] = data;
  top[6] = reinterpret_cast<void*>(standin_first);
  return top;
}

void switch_context(void** from, void* to) { standin_switch(from, to); }
void free_context(void*) {}
}  // namespace

#endif

Place::~Place() {
#if STANDIN_TSAN
  if (owns_tsan_fiber_) __tsan_destroy_fiber(tsan_fiber_);
#endif
  free_context(saved_);
  if (stack_ == nullptr) return;
#if STANDIN_ASAN
  __asan_unpoison_memory_region(bottom_, size_);
#endif
  munmap(stack_, kGuard + kStack);
}

void Place::start(void (*entry)(void*), void* data) {
  entry_ = entry;
  data_ = data;
  void* memory =
      mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  stack_ = static_cast<char*>(memory);
  mprotect(stack_, kGuard, PROT_NONE);
  bottom_ = stack_ + kGuard;
  size_ = kStack;
  saved_ = first_context(stack_ + kGuard, kStack, &Place::enter, this);
#if STANDIN_TSAN
  tsan_fiber_ = __tsan_create_fiber(0);
  owns_tsan_fiber_ = true;
#endif
}

// This and change() run between one fiber's release() and the next one's acquire(), on one host thread all the same.
#define STANDIN_UNWATCHED __attribute__((no_sanitize("thread")))

STANDIN_UNWATCHED void Place::adopt_thread() {
#if STANDIN_TSAN
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

void Place::enter(void* place) {
  auto& self = *static_cast<Place*>(place);
  arrive(self);
  self.entry_(self.data_);
  std::abort();
}

// On the new stack: where it came from is known to AddressSanitizer alone.
void Place::arrive(Place& place) {
#if STANDIN_ASAN
  __sanitizer_finish_switch_fiber(place.fake_stack_, &place.came_from_->bottom_, &place.came_from_->size_);
#else
  static_cast<void>(place);
#endif
}

STANDIN_UNWATCHED void Place::change(Place& from, Place& to) {
#if STANDIN_ASAN
  to.came_from_ = &from;
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if STANDIN_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber_, __tsan_switch_to_fiber_no_sync);
#endif
  switch_context(&from.saved_, to.saved_);
  arrive(from);
}

#if STANDIN_TSAN
void release(void* object) { __tsan_release(object); }
void acquire(void* object) { __tsan_acquire(object); }
#else
void release(void*) {}
void acquire(void*) {}
#endif

}  // namespace standin
