// What tests ask of the stand-in, by ctypes: nothing of this exists in the real library.
#include <string>

#include "driver.h"
#include "entry.h"

using namespace standin;

namespace {

template <class Result>
Result locked(const std::function<Result(Driver&)>& body) {
  Driver& all = driver();
  const std::lock_guard<std::recursive_mutex> lock(all.mutex);
  return body(all);
}

// Kept until the next call that answers with text.
const char* text(const std::string& answer) {
  static std::string kept;
  kept = answer;
  return kept.c_str();
}

Stream* stream_of(Driver& all, Handle handle) {
  for (const auto& device : all.devices) {
    Stream* found = is_legacy(handle) ? nullptr : all.streams.find(handle, *device);
    if (found != nullptr) return found;
  }
  return nullptr;
}

}  // namespace

// The calls since the last reset, a JSON list.
extern "C" __attribute__((visibility("default"))) const char* standin_events() {
  return locked<const char*>([](Driver& all) {
    std::string list;
    for (const std::string& event : all.events) list += (list.empty() ? "" : ",\n") + event;
    return text("[" + list + "]");
  });
}

// Forgets the events, failures to come and errors that devices have.
CU_ENTRY(standin_reset)() {
  return locked<int>([](Driver& all) {
    all.events.clear();
    all.failures.clear();
    for (const auto& device : all.devices) device->error = kSuccess;
    return 0;
  });
}

CU_ENTRY(standin_configure)(const char* key, const char* value) {
  return locked<int>([=](Driver& all) { return all.configure(key, value) ? 0 : -1; });
}

CU_ENTRY(standin_fail)(const char* call, int64_t after, int64_t times, int result) {
  return locked<int>([=](Driver& all) {
    all.failures.push_back({call, after, times, result});
    return 0;
  });
}

// What is wrong with device memory: writes outside of an allocation. "" where nothing is.
extern "C" __attribute__((visibility("default"))) const char* standin_damage() {
  return locked<const char*>([](Driver& all) { return text(all.memory.damage()); });
}

CU_ENTRY(standin_allocations)() {
  return locked<int>([](Driver& all) { return static_cast<int>(all.memory.count()); });
}

// The contexts that the calling thread has pushed and not popped.
CU_ENTRY(standin_contexts)() {
  return locked<int>([](Driver& all) { return static_cast<int>(all.thread().contexts.size()); });
}

CU_ENTRY(standin_pin)(const void* address, std::size_t size) {
  return locked<int>([=](Driver& all) {
    all.memory.pin(address, size);
    return 0;
  });
}

CU_ENTRY(standin_unpin)(const void* address) {
  return locked<int>([=](Driver& all) {
    all.memory.unpin(address);
    return 0;
  });
}

extern "C" __attribute__((visibility("default"))) void* standin_stream(int device, int blocking) {
  return locked<void*>([=](Driver& all) { return all.streams.create(device, blocking != 0); });
}

// The stream that torch works on, on this device.
CU_ENTRY(standin_use_stream)(int device, void* stream) {
  return locked<int>([=](Driver& all) {
    all.current_streams.at(static_cast<std::size_t>(device)) = stream;
    return 0;
  });
}

// Waits for all work of every device, as torch.cuda.synchronize() does.
CU_ENTRY(standin_finish)() {
  return locked<int>([](Driver& all) -> int {
    for (const auto& device : all.devices) {
      if (const int problem = all.streams.finish_device(device->number)) return device->error = problem;
    }
    return kSuccess;
  });
}

CU_ENTRY(standin_begin_capture)(void* handle, int mode) {
  return locked<int>([=](Driver& all) -> int {
    Stream* stream = stream_of(all, handle);
    if (stream == nullptr) return kCaptureUnsupported;
    if (stream->capture) return kInvalidValue;
    stream->capture = std::make_unique<Capture>();
    stream->capture->thread = std::this_thread::get_id();
    stream->capture->mode = static_cast<CaptureMode>(mode);
    all.events.push_back(Event("begin capture").json());
    return kSuccess;
  });
}

// The number of the graph, or -result where the capture was lost.
CU_ENTRY(standin_end_capture)(void* handle) {
  return locked<int>([=](Driver& all) -> int {
    Stream* stream = stream_of(all, handle);
    if (stream == nullptr || !stream->capture) return -kInvalidValue;
    const std::unique_ptr<Capture> capture = std::move(stream->capture);
    all.events.push_back(Event("end capture").add("operations", static_cast<int64_t>(capture->graph.size())).json());
    if (!capture->valid) return -kCaptureInvalidated;
    all.graphs.push_back(std::make_unique<Graph>(std::move(capture->graph)));
    return static_cast<int>(all.graphs.size()) - 1;
  });
}

CU_ENTRY(standin_replay)(int graph, void* handle, int times) {
  return locked<int>([=](Driver& all) -> int {
    Stream* stream = stream_of(all, handle);
    if (stream == nullptr || graph < 0 || graph >= static_cast<int>(all.graphs.size())) return kInvalidValue;
    Device& device = *all.devices[static_cast<std::size_t>(stream->device)];
    for (int i = 0; i < times; ++i) {
      for (const Operation& operation : *all.graphs[static_cast<std::size_t>(graph)]) {
        all.events.push_back(Event(operation.event).json());
        const int result = device.error != kSuccess ? device.error : all.streams.submit(*stream, device, operation);
        if (is_sticky(result)) device.error = result;
        if (result != kSuccess) return result;
      }
    }
    return kSuccess;
  });
}
