#include "cpu/pool.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace fastlr {
namespace {

class Pool {
 public:
  Pool() : process_(getpid()) {}
  bool belongs_here() const { return process_ == getpid(); }
  std::mutex& in_use() { return in_use_; }

  void run(int threads, const std::function<void()>& work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (; started_ < threads - 1; ++started_) std::thread(&Pool::serve, this).detach();
      work_ = &work;
      places_ = threads - 1;
      ++round_;
    }
    wake_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    work_ = nullptr;  // who has not joined by now finds nothing to do
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve() {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return work_ != nullptr && places_ > 0 && round_ != seen; });
      seen = round_;
      --places_;
      ++busy_;
      const std::function<void()>* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  const pid_t process_;
  std::mutex in_use_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void()>* work_ = nullptr;
  int started_ = 0;
  int places_ = 0;  // how many more threads may join
  int busy_ = 0;    // how many have joined and not finished
  uint64_t round_ = 0;
};

// Never destroyed: its threads wait on it until the process ends, and a forked child must not touch its parent's locks.
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* found = current.load();
  if (found != nullptr && found->belongs_here()) return *found;
  Pool* fresh = new Pool();
  if (current.compare_exchange_strong(found, fresh)) return *fresh;
  delete fresh;
  return *found;
}

using Team = void (*)(void (*work)(void*), void* data, unsigned threads, unsigned flags);

// Noted when the library is loaded: a child that is forked later has another.
const pid_t kHome = getpid();

// The OpenMP runtime that torch has loaded, or nullptr. Its threads go on spinning on their cores after torch's
// operators: given the work they start at once, where another pool's threads would have to share those cores with them.
// In a forked child it would wait for threads that are not there.
Team loaded_team() {
  static const auto team = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return getpid() == kHome ? team : nullptr;
}

void call(void* work) { (*static_cast<const std::function<void()>*>(work))(); }

}  // namespace

void run_on_threads(int threads, const std::function<void()>& work) {
  if (threads > 1) {
    if (const Team team = loaded_team()) {
      team(&call, const_cast<std::function<void()>*>(&work), static_cast<unsigned>(threads), 0);
      return;
    }
    Pool& shared = pool();
    std::unique_lock<std::mutex> turn(shared.in_use(), std::try_to_lock);
    if (turn.owns_lock()) {
      shared.run(threads, work);
      return;
    }
  }
  work();
}

}  // namespace fastlr
