#include "executor.h"

#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "fiber.h"

namespace standin {

__thread DeviceThread* current_thread = nullptr;

namespace {

struct Range {
  char* begin = nullptr;
  std::size_t size = 0;
};

bool holds(const dl_phdr_info& module, const void* address) {
  for (int i = 0; i < module.dlpi_phnum; ++i) {
    const auto& header = module.dlpi_phdr[i];
    const auto offset = reinterpret_cast<std::uintptr_t>(address) - module.dlpi_addr - header.p_vaddr;
    if (header.p_type == PT_LOAD && offset < header.p_memsz) return true;
  }
  return false;
}

// The calling host thread's copy of this module's thread-local data.
Range thread_local_data() {
  __atomic_store_n(&current_thread, nullptr, __ATOMIC_RELAXED);  // makes sure that it is there
  Range found;
  dl_iterate_phdr(
      [](dl_phdr_info* module, std::size_t, void* out) {
        if (!holds(*module, reinterpret_cast<const void*>(&thread_local_data))) return 0;
        for (int i = 0; i < module->dlpi_phnum; ++i) {
          if (module->dlpi_phdr[i].p_type != PT_TLS) continue;
          *static_cast<Range*>(out) = {static_cast<char*>(module->dlpi_tls_data), module->dlpi_phdr[i].p_memsz};
        }
        return 1;
      },
      &found);
  return found;
}

struct Fiber;

// One block at a time, on the host thread that calls run(). The fibers are kept for the next block.
class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::string run(const Dim3& index, const Dim3& grid, const Dim3& dim, const std::function<void()>& body, Order order,
                  std::mt19937_64& random);

 private:
  friend struct Fiber;
  friend void standin::barrier();

  void prepare(std::size_t threads);
  std::string end_of_round(std::size_t threads);

  std::vector<std::unique_ptr<Fiber>> fibers_;
  Place host_;
  Dim3 index_{}, grid_{}, dim_{};
  const std::function<void()>* body_ = nullptr;
  // For ThreadSanitizer alone: what release() and acquire() are called with.
  int64_t begun_ = 0, left_ = 0, gates_[2] = {};
};

enum class State { running, waiting, finished };

struct Fiber : DeviceThread {
  explicit Fiber(Block& owner) : of(owner) { place.start(&Fiber::loop, this); }

  // Never returns, so that the next block finds the fiber as this one left it.
  static void loop(void* fiber) {
    for (;;) static_cast<Fiber*>(fiber)->run();
  }

  __attribute__((noinline)) void run() {
    acquire(&of.begun_);
    state.store(State::running, std::memory_order_relaxed);
    (*of.body_)();
    state.store(State::finished, std::memory_order_relaxed);
    leave();
  }

  void leave() {
    Block& block_of = of;  // read before it is released
    release(&block_of.left_);
    Place::change(place, block_of.host_);
  }

  Block& of;
  Place place;
  std::atomic<State> state{State::running};  // read by the host thread between two turns
  unsigned barriers = 0;
};

void Block::prepare(std::size_t threads) {
  while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>(*this));
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& fiber = *fibers_[i];
    const auto linear = static_cast<unsigned>(i);
    fiber.thread = {linear % dim_.x, linear / dim_.x % dim_.y, linear / (dim_.x * dim_.y)};
    fiber.block = &index_;
    fiber.block_dim = &dim_;
    fiber.grid_dim = &grid_;
    fiber.fenced = false;
  }
}

// "" where all threads wait at a barrier or all have finished.
std::string Block::end_of_round(std::size_t threads) {
  const auto finished = static_cast<std::size_t>(std::count_if(
      fibers_.begin(), fibers_.begin() + static_cast<std::ptrdiff_t>(threads), [](const std::unique_ptr<Fiber>& fiber) {
        return fiber->state.load(std::memory_order_relaxed) == State::finished;
      }));
  if (finished == 0 || finished == threads) return "";
  fibers_.clear();  // they stand in the middle of the kernel
  return "block (" + std::to_string(index_.x) + ", " + std::to_string(index_.y) +
         "): " + std::to_string(threads - finished) + " threads wait at a barrier, " + std::to_string(finished) +
         " have ended without it";
}

std::string Block::run(const Dim3& index, const Dim3& grid, const Dim3& dim, const std::function<void()>& body,
                       Order order, std::mt19937_64& random) {
  index_ = index;
  grid_ = grid;
  dim_ = dim;
  body_ = &body;
  host_.adopt_thread();
  const std::size_t threads = std::size_t{dim.x} * dim.y * dim.z;
  prepare(threads);
  std::vector<std::size_t> turns(threads);
  std::iota(turns.begin(), turns.end(), std::size_t{0});
  if (order == Order::reverse) std::reverse(turns.begin(), turns.end());
  release(&begun_);
  std::string problem;
  do {
    if (order == Order::random) std::shuffle(turns.begin(), turns.end(), random);
    for (const std::size_t turn : turns) {
      __atomic_store_n(&current_thread, static_cast<DeviceThread*>(fibers_[turn].get()), __ATOMIC_RELAXED);
      Place::change(host_, fibers_[turn]->place);
    }
    acquire(&left_);
    problem = end_of_round(threads);
  } while (problem.empty() && fibers_[0]->state.load(std::memory_order_relaxed) == State::waiting);
  return problem;
}

// Blocks not in use, so that their fibers are made once.
class Spare {
 public:
  std::unique_ptr<Block> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (blocks_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(blocks_.back());
    blocks_.pop_back();
    return block;
  }
  void give(std::unique_ptr<Block> block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

Spare& spare() {
  static Spare* const blocks = new Spare;  // outlives every thread
  return *blocks;
}

std::vector<uint64_t> order_of_blocks(const Dim3& grid, const Execution& how) {
  std::vector<uint64_t> blocks(uint64_t{grid.x} * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), uint64_t{0});
  if (how.blocks == Order::reverse) std::reverse(blocks.begin(), blocks.end());
  if (how.blocks == Order::random) std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(how.seed));
  return blocks;
}

}  // namespace

void barrier() {
  auto& self = static_cast<Fiber&>(here());
  // Two gates in turn: a fast thread already comes to the next barrier while a slow one still leaves this one.
  int64_t* const gate = &self.of.gates_[self.barriers++ % 2];
  release(gate);
  self.state.store(State::waiting, std::memory_order_relaxed);
  self.leave();
  acquire(gate);
}

std::string execute(const Dim3& grid, const Dim3& block, const std::function<void()>& body, const Execution& how) {
  const std::vector<uint64_t> blocks = order_of_blocks(grid, how);
  const std::size_t workers = std::min(static_cast<std::size_t>(how.workers), blocks.size());
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::string problem;
  // Taken and given back here: the lock would order the workers as well.
  std::vector<std::unique_ptr<Block>> runners(workers);
  for (std::unique_ptr<Block>& runner : runners) runner = spare().take();
  // Each worker has its own share from the start: a common counter would order blocks that nothing else orders.
  const auto work = [&](std::size_t worker) {
    std::mt19937_64 random(how.seed + worker);
    const Range shared = thread_local_data();
    for (std::size_t i = worker; i < blocks.size() && !stop.load(std::memory_order_relaxed); i += workers) {
      std::memset(shared.begin, kPoison, shared.size);
      const Dim3 index{static_cast<unsigned>(blocks[i] % grid.x), static_cast<unsigned>(blocks[i] / grid.x % grid.y),
                       static_cast<unsigned>(blocks[i] / (uint64_t{grid.x} * grid.y))};
      const std::string found = runners[worker]->run(index, grid, block, body, how.threads, random);
      if (found.empty()) continue;
      stop.store(true, std::memory_order_relaxed);
      const std::lock_guard<std::mutex> lock(mutex);
      problem = found;
    }
  };
  std::vector<std::thread> others;
  for (std::size_t worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
  work(0);
  for (std::thread& other : others) other.join();
  for (std::unique_ptr<Block>& runner : runners) spare().give(std::move(runner));
  return problem;
}

}  // namespace standin
