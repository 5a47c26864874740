#include "cpu/pool.h"

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

  void run(int threads, const std::function<void(int)>& work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (; started_ < threads - 1; ++started_) std::thread(&Pool::serve, this, started_ + 1).detach();
      work_ = &work;
      threads_ = threads;
      pending_ = threads - 1;
      ++round_;
    }
    wake_.notify_all();
    work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    work_ = nullptr;
  }

 private:
  void serve(int index) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen && work_ != nullptr; });
      seen = round_;
      if (index >= threads_) continue;
      const std::function<void(int)>* work = work_;
      lock.unlock();
      (*work)(index);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  const pid_t process_;
  std::mutex in_use_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(int)>* work_ = nullptr;
  int started_ = 0;
  int threads_ = 0;
  int pending_ = 0;
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

}  // namespace

void run_on_threads(int threads, const std::function<void(int)>& work) {
  if (threads > 1) {
    Pool& shared = pool();
    std::unique_lock<std::mutex> turn(shared.in_use(), std::try_to_lock);
    if (turn.owns_lock()) {
      shared.run(threads, work);
      return;
    }
  }
  for (int index = 0; index < threads; ++index) work(index);
}

}  // namespace fastlr
