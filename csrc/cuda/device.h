// One GPU: torch's context on it, the kernels in the form that it runs, and memory there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/images.h"
#include "rule/info.h"

namespace fastlr {
namespace cuda {

// The kernels of each rule: a step for each element type that models are trained in, one for any, and one with a recipe
// around the rule.
enum class Part : int32_t { float32, bfloat16, mixed, recipe, prepare };
constexpr int kParts = 5;

// A place among a device's functions.
struct Kernel {
  std::size_t place;

  static Kernel of(const RuleInfo& rule, Part part) {
    return {static_cast<std::size_t>(rule.number * kParts + static_cast<int>(part))};
  }
  static Kernel evaluate() { return {rules().size() * kParts}; }
  static Kernel norm() { return {rules().size() * kParts + 1}; }
};

// What is known of a GPU without a context on it.
struct DeviceFacts {
  std::string name;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  int64_t memory = 0;            // bytes
  const Image* image = nullptr;  // what it runs; null: nothing that was built in
};

class Device {
 public:
  const Driver& driver() const { return *driver_; }
  int ordinal() const { return ordinal_; }
  int multiprocessors() const { return multiprocessors_; }
  bool long_arguments() const { return long_arguments_; }

  void launch(Kernel kernel, unsigned grid_x, unsigned grid_y, int threads, Stream stream, const void* arguments) const;
  bool capturing(Stream stream) const;
  // Both wait, on a stream of their own, and are allowed while another stream is captured.
  void upload(Address to, const void* from, std::size_t bytes) const;
  void download(void* to, Address from, std::size_t bytes) const;
  void wait() const;  // for all work on the device
  Stream own_stream() const { return own_stream_; }
  void finish_own() const;

 private:
  friend class Opening;
  const Driver* driver_ = nullptr;
  int ordinal_ = 0;
  int multiprocessors_ = 0;
  bool long_arguments_ = false;
  Context context_ = nullptr;
  Stream own_stream_ = nullptr;
  std::vector<Function> functions_;  // by Kernel::place

  friend class Current;
};

// While it lives this thread may allocate, copy and wait although a stream is being captured: none of that is recorded.
class Relaxed {
 public:
  explicit Relaxed(const Driver& driver) : driver_(driver) { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }
  ~Relaxed() { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }
  Relaxed(const Relaxed&) = delete;
  Relaxed& operator=(const Relaxed&) = delete;

 private:
  const Driver& driver_;
  int mode_ = 2;  // relaxed, in cuda.h
};

// Makes the device's context the thread's current one. Leaving never raises.
class Current {
 public:
  explicit Current(const Device& device);
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Device& device_;
};

// The GPU, opened at its first use and for the whole process; null and the reason where fastlr has to leave it to
// torch.
const Device* find_device(int ordinal, std::string* reason);

// Raises nothing; facts that the driver does not tell stay empty.
std::vector<DeviceFacts> device_facts();

// "sm_86", or "compute_80".
std::string architecture_name(const Image& image);
// "sm_86", or "compute_80 (PTX)".
std::string image_name(const Image& image);
const std::vector<Image>& all_images();

// Device memory; given back when destroyed.
class Memory {
 public:
  Memory() = default;
  Memory(const Device& device, std::size_t bytes);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;

  Address address() const { return address_; }

 private:
  const Device* device_ = nullptr;
  Address address_ = 0;
};

}  // namespace cuda
}  // namespace fastlr
