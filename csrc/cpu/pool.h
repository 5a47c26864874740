// Work on several threads, where it is worth waking them.
#pragma once

#include <functional>

namespace fastlr {

// Calls work() on this thread and on up to threads - 1 others, and returns when every call has. The work takes its
// parts as they come. The threads are those of the OpenMP runtime that torch has loaded, or a pool of our own: where
// there is none, and in a forked child. A thread of that pool that has not woken when the caller is through is not
// waited for, and a second caller at the same time does its work alone.
void run_on_threads(int threads, const std::function<void()>& work);

}  // namespace fastlr
