#include "stream.h"

#include <utility>

#include "driver.h"

namespace standin {

Stream* Streams::create(int device, bool blocking) {
  all_.push_back(std::make_unique<Stream>());
  all_.back()->device = device;
  all_.back()->blocking = blocking;
  return all_.back().get();
}

Stream* Streams::find(Handle handle, Device& device) {
  if (is_legacy(handle)) return &device.legacy;
  for (const auto& stream : all_) {
    if (stream.get() == handle && stream->device == device.number) return stream.get();
  }
  return nullptr;
}

int Streams::finish(Stream& stream) {
  int result = kSuccess;
  for (Operation& operation : std::exchange(stream.pending, {})) {
    if (result == kSuccess) result = operation.run();
  }
  return result;
}

int Streams::finish_device(int device) {
  Device& of = *driver().devices[static_cast<std::size_t>(device)];
  int result = finish(of.legacy);
  for (const auto& stream : all_) {
    const int own = stream->device == device ? finish(*stream) : kSuccess;
    if (result == kSuccess) result = own;
  }
  return result;
}

int Streams::submit(Stream& stream, Device& device, Operation operation) {
  if (const int conflict = capture_conflict(stream, device)) {
    for (const auto& other : all_) {
      if (conflict == kCaptureImplicit && other->capture && other->blocking && other->device == device.number) {
        invalidate(*other->capture);
      }
    }
    return conflict;
  }
  if (stream.capture) {
    stream.capture->graph.push_back(std::move(operation));
    return kSuccess;
  }
  if (!deferred) return operation.run();
  const bool legacy = &stream == &device.legacy;
  if (!legacy && stream.blocking) finish(device.legacy);
  for (const auto& other : all_) {
    if (legacy && other->blocking && other->device == device.number) finish(*other);
  }
  stream.pending.push_back(std::move(operation));
  return kSuccess;
}

int Streams::invalidate(Capture& capture) {
  capture.valid = false;
  return kCaptureUnsupported;
}

int Streams::capture_conflict(const Stream& stream, const Device& device) {
  if (stream.capture && !stream.capture->valid) return kCaptureInvalidated;
  for (const auto& other : all_) {
    const bool capturing = other->capture && other->blocking && other->device == device.number;
    if (capturing && &stream == &device.legacy) return kCaptureImplicit;
  }
  return kSuccess;
}

int Streams::unsafe_call(CaptureMode mode) {
  int result = kSuccess;
  for (const auto& stream : all_) {
    if (!stream->capture || mode == CaptureMode::relaxed || stream->capture->mode == CaptureMode::relaxed) continue;
    const bool own = stream->capture->thread == std::this_thread::get_id();
    const bool global = mode == CaptureMode::global && stream->capture->mode == CaptureMode::global;
    if (own || global) result = invalidate(*stream->capture);
  }
  return result;
}

int Streams::wait_conflict(int device, const Stream* only) {
  int result = kSuccess;
  for (const auto& stream : all_) {
    const bool waited_for = only == nullptr ? stream->device == device : stream.get() == only;
    if (waited_for && stream->capture) result = invalidate(*stream->capture);
  }
  return result;
}

}  // namespace standin
