#include "driver.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace standin {
namespace {

bool read_order(const std::string& value, Order& out) {
  if (value == "forward") out = Order::forward;
  if (value == "reverse") out = Order::reverse;
  if (value == "random") out = Order::random;
  return value == "forward" || value == "reverse" || value == "random";
}

bool read_number(const std::string& value, int64_t least, int64_t most, int64_t& out) {
  char* end = nullptr;
  out = std::strtoll(value.c_str(), &end, 10);
  return !value.empty() && *end == '\0' && out >= least && out <= most;
}

// A key of one device is written "key" for all of them, or "key.1".
bool configure_device(Device& device, const std::string& key, const std::string& value) {
  int64_t number = 0;
  if (key == "name") {
    device.name = value;
    return true;
  }
  if (key == "capability" && read_number(value, 50, 150, number)) {
    device.capability = static_cast<int>(number);
    return true;
  }
  if (key == "multiprocessors" && read_number(value, 1, 1024, number)) {
    device.multiprocessors = static_cast<int>(number);
    return true;
  }
  return key == "memory" && read_number(value, 1, int64_t{1} << 40, device.memory);
}

}  // namespace

Driver& driver() {
  static Driver* const all = new Driver;  // outlives whoever calls last
  return *all;
}

void Driver::set_devices(std::size_t count) {
  devices.clear();
  for (std::size_t i = 0; i < count; ++i) {
    devices.push_back(std::make_unique<Device>());
    devices.back()->number = devices.back()->legacy.device = static_cast<int>(i);
  }
}

bool Driver::configure(const std::string& key, const std::string& value) {
  int64_t number = 0;
  if (key == "blocks") return read_order(value, execution.blocks);
  if (key == "threads") return read_order(value, execution.threads);
  if (key == "workers" && read_number(value, 1, 64, number)) {
    execution.workers = static_cast<int>(number);
    return true;
  }
  if (key == "seed" && read_number(value, 0, INT64_MAX, number)) {
    execution.seed = static_cast<uint64_t>(number);
    return true;
  }
  if (key == "deferred" && read_number(value, 0, 1, number)) {
    for (const auto& device : devices) streams.finish_device(device->number);
    streams.deferred = number != 0;
    return true;
  }
  if (initialized) return false;
  if (key == "devices" && read_number(value, 0, 4, number)) {
    set_devices(static_cast<std::size_t>(number));
    return true;
  }
  if (key == "driver" && read_number(value, 1000, 99999, number)) {
    version = static_cast<int>(number);
    return true;
  }
  const std::size_t dot = key.find('.');
  int64_t only = -1;
  if (dot != std::string::npos && !read_number(key.substr(dot + 1), 0, 3, only)) return false;
  bool known = false;
  for (const auto& device : devices) {
    if (only < 0 || device->number == only) known = configure_device(*device, key.substr(0, dot), value);
  }
  return known;
}

Device* Driver::current() {
  const HostThread& own = thread();
  return own.contexts.empty() ? nullptr : own.contexts.back();
}

Device* Driver::device(CUdevice number) {
  const auto count = static_cast<int>(devices.size());
  return number >= 0 && number < count ? devices[static_cast<std::size_t>(number)].get() : nullptr;
}

int Driver::failed(const std::string& problem, int result) {
  std::fprintf(stderr, "stand-in for CUDA: %s\n", problem.c_str());
  events.push_back(Event("problem").add("text", problem).json());
  return result;
}

int Driver::injected(const std::string& call) {
  for (Failure& failure : failures) {
    if (failure.call != call) continue;
    if (failure.after > 0) {
      --failure.after;
    } else if (failure.times != 0) {
      if (failure.times > 0) --failure.times;
      return failure.result;
    }
  }
  return kSuccess;
}

int run_call(const char* name, Needs needs, const std::function<int(Event&)>& body) {
  Driver& all = driver();
  const std::lock_guard<std::recursive_mutex> lock(all.mutex);
  Event event(name);
  Device* device = all.current();
  int result = all.injected(name);
  if (result == kSuccess && needs != Needs::nothing && !all.initialized) result = kNotInitialized;
  if (result == kSuccess && needs == Needs::context) result = device == nullptr ? kInvalidContext : device->error;
  if (result == kSuccess) result = body(event);
  if (is_sticky(result) && device != nullptr) device->error = result;
  if (device != nullptr) event.add("device", device->number);
  all.events.push_back(event.add("result", result).json());
  return result;
}

}  // namespace standin
