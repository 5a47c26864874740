// The state behind the entry points. One lock is held during each call, kernels included.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda_abi.h"
#include "executor.h"
#include "image.h"
#include "kernels.h"
#include "memory.h"
#include "record.h"
#include "stream.h"

namespace standin {

struct Device {
  int number = 0;
  std::string name = "Stand-in GPU";
  int capability = 86;
  int multiprocessors = 16;
  int64_t memory = int64_t{8} << 30;
  int error = kSuccess;  // a sticky one
  bool retained = false;
  Stream legacy;
};

struct Module {
  int device;
  Image image;
};

struct Function {
  const Module* module;
  const Kernel* kernel;
};

// A call that is to fail: the one after `after` others, and from then on `times` of them (-1: all).
struct Failure {
  std::string call;
  int64_t after;
  int64_t times;
  int result;
};

// What the driver keeps for each host thread.
struct HostThread {
  std::vector<Device*> contexts;
  CaptureMode mode = CaptureMode::global;
};

class Driver {
 public:
  Driver() { set_devices(2); }

  std::recursive_mutex mutex;
  bool initialized = false;
  int version = 12040;
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<std::unique_ptr<Module>> modules;
  std::vector<std::unique_ptr<Function>> functions;
  std::vector<std::unique_ptr<Graph>> graphs;
  Streams streams;
  Memory memory;
  Execution execution{Order::random, Order::random, 1, 1};
  std::vector<Failure> failures;
  std::vector<std::string> events;
  std::vector<Handle> current_streams = std::vector<Handle>(8, nullptr);  // of torch, for each device

  void set_devices(std::size_t count);
  // What `key` says from now on. False: no such key or value, or it is too late for it.
  bool configure(const std::string& key, const std::string& value);
  HostThread& thread() { return threads_[std::this_thread::get_id()]; }
  // The device whose context is current, or nullptr.
  Device* current();
  Device* device(CUdevice number);
  // An error of the launch that the caller would otherwise have to guess: said aloud.
  int failed(const std::string& problem, int result);
  // Counts a call towards the failures that were asked for.
  int injected(const std::string& call);

 private:
  std::map<std::thread::id, HostThread> threads_;
};

Driver& driver();

enum class Needs { nothing, initialized, context };

// One call of an entry point: the lock, what every call checks, the record.
int run_call(const char* name, Needs needs, const std::function<int(Event&)>& body);

}  // namespace standin
