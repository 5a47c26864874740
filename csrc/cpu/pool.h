// A small pool of threads for work that is worth waking them.
#pragma once

#include <functional>

namespace fastlr {

// Calls work(index) for every index in [0, threads), index 0 on the calling thread, and returns when all are done. The
// threads are kept. After a fork the child starts its own; a second caller at the same time does its work alone.
void run_on_threads(int threads, const std::function<void(int)>& work);

}  // namespace fastlr
