// Streams, and what is captured from them. Work runs at once, or, deferred, when something waits for it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cuda_abi.h"
#include "record.h"

namespace standin {

struct Device;

struct Operation {
  Event event;  // as it is recorded when a graph replays it
  std::function<int()> run;
};

using Graph = std::vector<Operation>;

struct Capture {
  std::thread::id thread;
  CaptureMode mode;
  bool valid = true;
  Graph graph;
};

struct Stream {
  int device = 0;
  bool blocking = true;  // waits for the legacy stream and the other way around
  std::unique_ptr<Capture> capture;
  std::vector<Operation> pending;
};

class Streams {
 public:
  bool deferred = false;

  Stream* create(int device, bool blocking);
  // The stream behind a handle on this device; nullptr where it is none of its.
  Stream* find(Handle handle, Device& device);

  // Work for a stream: runs now or later, or goes into the graph that is captured from it.
  int submit(Stream& stream, Device& device, Operation operation);
  // Runs what waits; the first problem is returned.
  int finish(Stream& stream);
  int finish_device(int device);

  // The result for an operation on this stream: kCaptureImplicit for the legacy stream while a blocking one captures,
  // kCaptureInvalidated for one whose capture has failed.
  int capture_conflict(const Stream& stream, const Device& device);
  // The result for a call that may synchronise or allocate, for a thread in this mode. Ends the captures in its way.
  int unsafe_call(CaptureMode mode);
  // The result for a call that waits for work on the device, or on one stream. Capturing work never ends.
  int wait_conflict(int device, const Stream* only);

 private:
  int invalidate(Capture& capture);

  std::vector<std::unique_ptr<Stream>> all_;
};

}  // namespace standin
