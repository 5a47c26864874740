// Threads of a block as fibers: each has a stack of its own, and one host thread switches between them.
// AddressSanitizer and ThreadSanitizer are told of every switch; for the latter a switch orders nothing, as between
// real threads.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define STANDIN_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define STANDIN_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STANDIN_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define STANDIN_TSAN 1
#endif
#endif

namespace standin {

// One side of a switch: a fiber, or the host thread that it returns to.
class Place {
 public:
  Place() = default;
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Gives it a stack; the first switch to it calls entry(data), which must never return.
  void start(void (*entry)(void*), void* data);
  // Makes it stand for the calling host thread.
  void adopt_thread();

  // Goes on at `to` and comes back when somebody switches to `from`.
  static void change(Place& from, Place& to);

 private:
  static void enter(void* place);
  static void arrive(Place& place);

  void* saved_ = nullptr;         // the stack pointer, or a ucontext_t
  char* stack_ = nullptr;         // own stack, with a page in front that nobody may touch
  const void* bottom_ = nullptr;  // what AddressSanitizer has to know of the stack
  std::size_t size_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_fiber_ = nullptr;
  bool owns_tsan_fiber_ = false;
  void (*entry_)(void*) = nullptr;
  void* data_ = nullptr;
  Place* came_from_ = nullptr;
};

// Orders what happened before release(x) before what comes after acquire(x). Real threads get this from a barrier; here
// it only tells ThreadSanitizer.
void release(void* object);
void acquire(void* object);

}  // namespace standin
