#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "executor.h"

namespace standin {
namespace {

constexpr std::size_t kAlignment = 512, kZone = 512;
constexpr unsigned char kZoneByte = 0xe5;

std::size_t padded(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

bool untouched(const char* begin, std::size_t size) {
  return std::all_of(begin, begin + size, [](char byte) { return static_cast<unsigned char>(byte) == kZoneByte; });
}

bool intact(const char* address, std::size_t size) {
  return untouched(address - kZone, kZone) && untouched(address + size, padded(size) - size + kZone);
}

void give_back(std::uintptr_t address) { std::free(reinterpret_cast<char*>(address) - kZone); }

}  // namespace

Memory::~Memory() {
  for (const Ranges* ranges : {&live_, &freed_}) {
    for (const auto& [address, range] : *ranges) give_back(address);
  }
}

void* Memory::allocate(std::size_t size, int device) {
  auto* memory = static_cast<char*>(std::aligned_alloc(kAlignment, padded(size) + 2 * kZone));
  if (memory == nullptr) return nullptr;
  std::memset(memory, kZoneByte, padded(size) + 2 * kZone);
  std::memset(memory + kZone, kPoison, size);
  live_[begin_of(memory + kZone)] = {size, device};
  return memory + kZone;
}

std::string Memory::free(void* address) {
  const auto found = live_.find(begin_of(address));
  if (found == live_.end()) return freed_.count(begin_of(address)) != 0 ? "freed twice" : "not allocated here";
  const bool whole = intact(static_cast<char*>(address), found->second.size);
  std::memset(address, kPoison, found->second.size);
  freed_.insert(*found);
  live_.erase(found);
  constexpr std::size_t kKept = 64;
  order_.push_back(begin_of(address));
  if (order_.size() > kKept) {
    give_back(order_.front());
    freed_.erase(order_.front());
    order_.pop_front();
  }
  return whole ? "" : "written to outside of its bounds";
}

void Memory::note(const void* address, std::size_t size, int device) {
  if (size == 0) return;
  const std::uintptr_t begin = begin_of(address);
  auto from = noted_.lower_bound(begin);
  if (from != noted_.begin() && std::prev(from)->first + std::prev(from)->second.size > begin) --from;
  noted_.erase(from, noted_.lower_bound(begin + size));
  noted_[begin] = {size, device};
}

const Range* Memory::at(const Ranges& ranges, const void* address) {
  auto next = ranges.upper_bound(begin_of(address));
  if (next == ranges.begin()) return nullptr;
  const auto& [begin, range] = *--next;
  return begin_of(address) - begin < range.size ? &range : nullptr;
}

bool Memory::holds(const Ranges& ranges, const void* address, std::size_t size) {
  const Range* first = at(ranges, address);
  return first != nullptr && size > 0 && at(ranges, static_cast<const char*>(address) + size - 1) == first;
}

std::string Memory::refusal(const void* address, int device) const {
  if (address == nullptr) return "a null pointer";
  if (at(freed_, address) != nullptr) return "memory that was freed";
  const Range* known = at(live_, address);
  if (known == nullptr) known = at(noted_, address);
  return known == nullptr || known->device == device ? "" : "memory of device " + std::to_string(known->device);
}

std::string Memory::damage() const {
  for (const auto& [address, range] : live_) {
    if (!intact(reinterpret_cast<const char*>(address), range.size)) {
      return "an allocation of " + std::to_string(range.size) + " bytes was written to outside of its bounds";
    }
  }
  return "";
}

std::size_t Memory::used(int device) const {
  std::size_t sum = 0;
  for (const auto& [address, range] : live_) sum += range.device == device ? range.size : 0;
  return sum;
}

}  // namespace standin
