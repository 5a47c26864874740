// Runs a grid of blocks on host threads. Within a block threads take turns at barriers only; blocks run in parallel.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace standin {

struct Dim3 {
  unsigned x, y, z;
};

enum class Order { forward, reverse, random };

struct Execution {
  Order blocks = Order::forward;
  Order threads = Order::forward;  // of a block, between two barriers
  int workers = 1;                 // host threads
  uint64_t seed = 1;
};

// What device code sees of the thread that it runs in.
struct DeviceThread {
  Dim3 thread;
  const Dim3* block;
  const Dim3* block_dim;
  const Dim3* grid_dim;
  bool fenced;  // has called __threadfence()
};

// Calls body() as each thread of each block. Returns what went wrong, or "": a block whose threads did not all come to
// the same barriers is given up, and the rest of the grid with it.
std::string execute(const Dim3& grid, const Dim3& block, const std::function<void()>& body, const Execution& how);

void barrier();

// Plain thread-local data of this module. It holds the __shared__ variables too and is filled with kPoison before each
// block, so nothing else in this module may be thread-local.
extern __thread DeviceThread* current_thread __attribute__((visibility("hidden")));
constexpr unsigned char kPoison = 0xdb;

inline DeviceThread& here() { return *__atomic_load_n(&current_thread, __ATOMIC_RELAXED); }

}  // namespace standin
