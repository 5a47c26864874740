// How the stand-in runs blocks and threads: indices, barriers, shared memory, atomics; and that it sees a kernel's
// mistakes. Given the name of a mistake, runs that one alone, for ThreadSanitizer to report.
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "check_native.h"
#include "shim.h"

namespace {

using standin::Dim3;
using standin::Execution;
using standin::Order;

const Execution kOrders[] = {{Order::forward, Order::forward, 1, 1},
                             {Order::reverse, Order::reverse, 2, 2},
                             {Order::random, Order::random, 4, 3}};

std::string launch(const Dim3& grid, unsigned threads, const Execution& how, const std::function<void()>& kernel) {
  return standin::execute(grid, {threads, 1, 1}, kernel, how);
}

void every_thread_once() {
  for (const Execution& how : kOrders) {
    std::vector<std::atomic<int>> seen(5 * 3 * 7);
    const std::string problem = launch({5, 3, 1}, 7, how, [&] {
      CHECK(gridDim.x == 5 && gridDim.y == 3 && blockDim.x == 7 && threadIdx.y == 0);
      ++seen[(blockIdx.y * 5 + blockIdx.x) * 7 + threadIdx.x];
    });
    CHECK(problem.empty());
    for (const std::atomic<int>& visits : seen) CHECK(visits == 1);
  }
}

// The order of blocks is what was asked for, where one host thread runs them.
void orders_of_blocks() {
  std::set<std::vector<unsigned>> found;
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    std::vector<unsigned> blocks;
    launch({9, 1, 1}, 1, {order, Order::forward, 1, 11}, [&] { blocks.push_back(blockIdx.x); });
    CHECK(blocks.size() == 9 && (order != Order::forward || blocks[0] == 0) &&
          (order != Order::reverse || blocks[0] == 8));
    found.insert(blocks);
  }
  CHECK(found.size() == 3);
}

// Each thread reads what its neighbours wrote before the last barrier.
void barriers() {
  constexpr unsigned kThreads = 33;
  for (const Execution& how : kOrders) {
    const std::string problem = launch({6, 1, 1}, kThreads, how, [] {
      __shared__ unsigned all[kThreads];
      all[threadIdx.x] = threadIdx.x;
      for (unsigned round = 1; round < 5; ++round) {
        __syncthreads();
        const unsigned next = all[(threadIdx.x + 1) % kThreads];
        __syncthreads();
        all[threadIdx.x] = next;
      }
      CHECK(all[threadIdx.x] == (threadIdx.x + 4) % kThreads);
    });
    CHECK(problem.empty());
  }
}

// Shared memory holds nothing of the block before.
void shared_memory_is_poisoned() {
  launch({4, 1, 1}, 3, kOrders[0], [] {
    __shared__ std::array<unsigned char, 24> bytes;
    for (const unsigned char byte : bytes) CHECK(byte == standin::kPoison);
    __syncthreads();
    bytes.fill(1);
  });
}

// Blocks that all see their ticket: exactly one is the last.
void tickets() {
  for (const Execution& how : kOrders) {
    unsigned ticket = 0;
    int last = 0;
    const std::string problem = launch({40, 1, 1}, 8, how, [&] {
      __shared__ bool is_last;
      __syncthreads();
      if (threadIdx.x == 0) {
        __threadfence();
        is_last = atomicAdd(&ticket, 1u) == gridDim.x - 1;
      }
      __syncthreads();
      if (is_last && threadIdx.x == 5) ++last;
    });
    CHECK(problem.empty() && ticket == 40 && last == 1);
  }
}

// A barrier that not all threads come to is a problem of the launch, and the next launch is none the worse.
void barriers_left_out() {
  const std::string problem = launch({2, 1, 1}, 8, kOrders[0], [] {
    if (threadIdx.x < 3) return;
    __syncthreads();
  });
  CHECK(problem == "block (0, 0): 5 threads wait at a barrier, 3 have ended without it");
  CHECK(!launch({3, 1, 1}, 8, kOrders[2], [] {
           if (threadIdx.x == 7) __syncthreads();
         }).empty());
  barriers();
}

template <class T>
T read(const volatile T& place) {
  return place;
}

// Mistakes that go well in some order of threads. ThreadSanitizer sees them in any.
void without_a_barrier() {
  launch({1, 1, 1}, 8, kOrders[0], [] {
    __shared__ int value;
    if (threadIdx.x == 0) value = 3;
    read(value);
  });
}

// The same barrier does not serve twice: the next round's writes race with this round's reads.
void with_one_barrier_of_two() {
  launch({1, 1, 1}, 8, kOrders[0], [] {
    __shared__ unsigned all[8];
    for (unsigned round = 0; round < 2; ++round) {
      all[threadIdx.x] = round;
      __syncthreads();
      read(all[(threadIdx.x + 1) % 8]);
    }
  });
}

// The last block writes what others have read, but nothing says that they are done with it.
void without_a_fence() {
  unsigned ticket = 0;
  int state[8] = {};
  launch({8, 1, 1}, 4, kOrders[2], [&] {
    if (threadIdx.x == 0) read(state[blockIdx.x]);
    __syncthreads();
    if (threadIdx.x != 0 || atomicAdd(&ticket, 1u) != gridDim.x - 1) return;
    for (int& each : state) each = 2;
  });
}

// The last block adds up what the others have written, but nothing says that their sums have arrived.
void sums_without_a_fence() {
  unsigned ticket = 0;
  double sums[8] = {};
  launch({8, 1, 1}, 4, kOrders[2], [&] {
    if (threadIdx.x == 0) sums[blockIdx.x] = 1.0;
    __syncthreads();
    if (threadIdx.x != 0 || atomicAdd(&ticket, 1u) != gridDim.x - 1) return;
    for (double& each : sums) read(each);
  });
}

const std::map<std::string, void (*)()> kMistakes = {{"without_a_barrier", without_a_barrier},
                                                     {"with_one_barrier_of_two", with_one_barrier_of_two},
                                                     {"without_a_fence", without_a_fence},
                                                     {"sums_without_a_fence", sums_without_a_fence}};

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) {
    kMistakes.at(arguments[1])();
    return 0;
  }
  every_thread_once();
  orders_of_blocks();
  barriers();
  shared_memory_is_poisoned();
  tickets();
  barriers_left_out();
  return 0;
}
