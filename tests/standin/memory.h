// Device memory: the allocations of each device, and what is known of other memory that passes for a device's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

namespace standin {

struct Range {
  std::size_t size;
  int device;
};

class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  // Filled with kPoison, between zones that nobody may write to. nullptr where there is none left.
  void* allocate(std::size_t size, int device);
  // Returns what is wrong, or "". What is freed stays readable as poison for a while.
  std::string free(void* address);
  // Memory of somebody else's that passes for a device's: the elements of a tensor.
  void note(const void* address, std::size_t size, int device);
  void pin(const void* address, std::size_t size) { pinned_[begin_of(address)] = {size, -1}; }
  void unpin(const void* address) { pinned_.erase(begin_of(address)); }

  // Why a kernel on this device may not touch the address, or "". Unknown memory is taken to be anybody's.
  std::string refusal(const void* address, int device) const;
  bool is_allocated(const void* address, std::size_t size) const { return holds(live_, address, size); }
  bool is_pinned(const void* address, std::size_t size) const { return holds(pinned_, address, size); }
  // Writes outside of what was allocated, so far.
  std::string damage() const;
  std::size_t used(int device) const;
  std::size_t count() const { return live_.size(); }

 private:
  using Ranges = std::map<std::uintptr_t, Range>;
  static std::uintptr_t begin_of(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }
  static bool holds(const Ranges& ranges, const void* address, std::size_t size);
  static const Range* at(const Ranges& ranges, const void* address);

  Ranges live_, freed_, noted_, pinned_;
  std::deque<std::uintptr_t> order_;  // of freed_, the oldest first: its memory is given back first
};

}  // namespace standin
