// The entry points for memory and copies.
#include <cstring>
#include <vector>

#include "driver.h"
#include "entry.h"

using namespace standin;

namespace {

void* at(CUdeviceptr address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

struct Copy {
  void* to;
  const void* from;
  const void* device;  // whichever of the two it is
  const void* host;
  std::size_t size;
};

// Memory that the operating system may move is staged by the driver: read before the call returns, or waited for.
int run_copy(Event& event, const Copy& copy, Handle handle, bool to_device) {
  Driver& all = driver();
  Device& device = *all.current();
  Stream* stream = all.streams.find(handle, device);
  if (stream == nullptr) return kInvalidHandle;
  if (copy.host == nullptr || !all.memory.is_allocated(copy.device, copy.size)) return kInvalidValue;
  const bool pinned = all.memory.is_pinned(copy.host, copy.size);
  event.add("bytes", static_cast<int64_t>(copy.size)).add("pinned", pinned ? 1 : 0);
  event.add("stream", static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(handle)));
  if (!pinned) {
    if (const int conflict = all.streams.wait_conflict(device.number, stream)) return conflict;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
  }
  std::vector<char> staged;
  if (to_device && !pinned) {
    const auto* bytes = static_cast<const char*>(copy.from);
    staged.assign(bytes, bytes + copy.size);
  }
  Event replayed("replay");
  replayed.add("copy", to_device ? "to device" : "to host").add("bytes", static_cast<int64_t>(copy.size));
  const int result = all.streams.submit(*stream, device,
                                        {std::move(replayed), [copy, staged = std::move(staged)]() -> int {
                                           std::memcpy(copy.to, staged.empty() ? copy.from : staged.data(), copy.size);
                                           return kSuccess;
                                         }});
  return result == kSuccess && !to_device && !pinned ? all.streams.finish(*stream) : result;
}

}  // namespace

CU_ENTRY(cuMemAlloc_v2)(CUdeviceptr* out, std::size_t size) {
  return run_call("cuMemAlloc_v2", Needs::context, [&](Event& event) -> int {
    Driver& all = driver();
    Device& device = *all.current();
    event.add("bytes", static_cast<int64_t>(size));
    if (out == nullptr || size == 0) return kInvalidValue;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
    if (size > static_cast<std::size_t>(device.memory) - all.memory.used(device.number)) return kOutOfMemory;
    void* memory = all.memory.allocate(size, device.number);
    if (memory == nullptr) return kOutOfMemory;
    *out = reinterpret_cast<std::uintptr_t>(memory);
    return kSuccess;
  });
}

CU_ENTRY(cuMemFree_v2)(CUdeviceptr address) {
  return run_call("cuMemFree_v2", Needs::context, [&](Event&) -> int {
    Driver& all = driver();
    if (address == 0) return kSuccess;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
    if (const int failure = all.streams.finish_device(all.current()->number)) return failure;
    const std::string problem = all.memory.free(at(address));
    return problem.empty() ? kSuccess : all.failed("cuMemFree: " + problem, kInvalidValue);
  });
}

CU_ENTRY(cuMemcpyHtoDAsync_v2)(CUdeviceptr to, const void* from, std::size_t size, Handle stream) {
  return run_call("cuMemcpyHtoDAsync_v2", Needs::context,
                  [&](Event& event) { return run_copy(event, {at(to), from, at(to), from, size}, stream, true); });
}

CU_ENTRY(cuMemcpyDtoHAsync_v2)(void* to, CUdeviceptr from, std::size_t size, Handle stream) {
  return run_call("cuMemcpyDtoHAsync_v2", Needs::context,
                  [&](Event& event) { return run_copy(event, {to, at(from), at(from), to, size}, stream, false); });
}
