#include "cuda/device.h"

#include <memory>
#include <mutex>
#include <utility>

#include "check.h"

namespace fastlr {
namespace cuda {
namespace {

// Numbers of cuda.h.
constexpr int kMultiprocessorCount = 16, kCapabilityMajor = 75, kCapabilityMinor = 76;
constexpr unsigned kNonBlocking = 1;
constexpr int kMaxDevices = 64;

std::vector<std::string> kernel_names() {
  const char* const parts[kParts] = {"float32", "bfloat16", "mixed", "recipe", "prepare"};
  std::vector<std::string> names;
  for (const RuleInfo& rule : rules()) {
    for (const char* part : parts) names.push_back("fastlr_" + rule.name + "_" + part);
  }
  names.emplace_back("fastlr_evaluate");
  names.emplace_back("fastlr_norm");
  return names;
}

constexpr const char* kAfterFailure =
    "An earlier kernel may have failed: run with CUDA_LAUNCH_BLOCKING=1 to see which.";

// Machine code of the same major version and at most the same minor runs; else the driver compiles PTX.
const Image* choose_image(int major, int minor, bool long_arguments) {
  const int capability = 10 * major + minor;
  const Image* chosen = nullptr;
  for (const Image& image : all_images()) {
    if (image.long_arguments != long_arguments || image.architecture > capability) continue;
    if (!image.is_ptx && image.architecture / 10 != major) continue;
    if (chosen != nullptr && (image.is_ptx || (!chosen->is_ptx && chosen->architecture > image.architecture))) continue;
    chosen = &image;
  }
  return chosen;
}

DeviceFacts facts_of(const Found& found, int ordinal) {
  const Driver& driver = found.driver;
  DeviceFacts facts;
  int handle = 0;
  if (driver.cuDeviceGet(&handle, ordinal) != 0) return facts;
  char name[256] = "";
  std::size_t bytes = 0;
  if (driver.cuDeviceGetName(name, sizeof name, handle) == 0) facts.name = name;
  if (driver.cuDeviceTotalMem(&bytes, handle) == 0) facts.memory = static_cast<int64_t>(bytes);
  driver.cuDeviceGetAttribute(&facts.multiprocessors, kMultiprocessorCount, handle);
  driver.cuDeviceGetAttribute(&facts.major, kCapabilityMajor, handle);
  driver.cuDeviceGetAttribute(&facts.minor, kCapabilityMinor, handle);
  facts.image = choose_image(facts.major, facts.minor, found.version >= kLongArgumentsVersion);
  return facts;
}

}  // namespace

class Opening {
 public:
  Opening(const Found& found, int ordinal) : found_(found), ordinal_(ordinal) {}

  // What stands in the way, or nothing.
  std::string open(Device& device) {
    const DeviceFacts facts = facts_of(found_, ordinal_);
    const std::string capability = std::to_string(facts.major) + "." + std::to_string(facts.minor);
    if (all_images().empty()) return "this build of fastlr has no device code (FASTLR_CUDA=OFF)";
    if (facts.image == nullptr) {
      return "this build of fastlr has no device code for " + facts.name + " (compute capability " + capability + ")";
    }
    device.driver_ = &found_.driver;
    device.ordinal_ = ordinal_;
    device.multiprocessors_ = facts.multiprocessors;
    device.long_arguments_ = facts.image->long_arguments;
    int handle = 0;
    Result result = device.driver_->cuDeviceGet(&handle, ordinal_);
    if (result == 0) result = device.driver_->cuDevicePrimaryCtxRetain(&device.context_, handle);
    if (result != 0) return "no context on " + facts.name + ": " + describe(*device.driver_, result);
    result = load(device, *facts.image);
    if (result == 0) return "";
    return "its device code does not load on " + facts.name + ": " + describe(*device.driver_, result);
  }

 private:
  static Result load(Device& device, const Image& image) {
    const Driver& driver = *device.driver_;
    const Relaxed relaxed(driver);
    Result result = driver.cuCtxPushCurrent(device.context_);
    if (result != 0) return result;
    Module module = nullptr;
    result = driver.cuModuleLoadData(&module, image.data);
    for (const std::string& name : kernel_names()) {
      Function function = nullptr;
      if (result == 0) result = driver.cuModuleGetFunction(&function, module, name.c_str());
      device.functions_.push_back(function);
    }
    if (result == 0) result = driver.cuStreamCreate(&device.own_stream_, kNonBlocking);
    Context before = nullptr;
    driver.cuCtxPopCurrent(&before);
    return result;
  }

  const Found& found_;
  int ordinal_;
};

const Device* find_device(int ordinal, std::string* reason) {
  struct Slot {
    bool looked = false;
    std::string reason;
    Device device;
  };
  static auto* slots = new Slot[kMaxDevices];
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const Found& found = find_driver();
  if (!found.usable || ordinal < 0 || ordinal >= found.device_count || ordinal >= kMaxDevices) {
    *reason = found.usable ? "the driver has no device " + std::to_string(ordinal) : found.reason;
    return nullptr;
  }
  Slot& slot = slots[ordinal];
  if (!std::exchange(slot.looked, true)) slot.reason = Opening(found, ordinal).open(slot.device);
  *reason = slot.reason;
  return slot.reason.empty() ? &slot.device : nullptr;
}

std::vector<DeviceFacts> device_facts() {
  const Found& found = find_driver();
  std::vector<DeviceFacts> all;
  for (int i = 0; found.usable && i < found.device_count; ++i) all.push_back(facts_of(found, i));
  return all;
}

std::string architecture_name(const Image& image) {
  return (image.is_ptx ? "compute_" : "sm_") + std::to_string(image.architecture);
}

std::string image_name(const Image& image) { return architecture_name(image) + (image.is_ptx ? " (PTX)" : ""); }

const std::vector<Image>& all_images() {
  static const auto& all = *new std::vector<Image>(images());
  return all;
}

void Device::launch(Kernel kernel, unsigned grid_x, unsigned grid_y, int threads, Stream stream,
                    const void* arguments) const {
  void* parameters[] = {const_cast<void*>(arguments)};
  const Result result = driver_->cuLaunchKernel(functions_.at(kernel.place), grid_x, grid_y, 1,
                                                static_cast<unsigned>(threads), 1, 1, 0, stream, parameters, nullptr);
  check(*driver_, result, "A kernel could not be launched", kAfterFailure);
}

bool Device::capturing(Stream stream) const {
  int status = 0;
  check(*driver_, driver_->cuStreamIsCapturing(stream, &status), "A stream cannot be used", kAfterFailure);
  return status != 0;
}

void Device::upload(Address to, const void* from, std::size_t bytes) const {
  const Relaxed relaxed(*driver_);
  const Current current(*this);
  check(*driver_, driver_->cuMemcpyHtoDAsync(to, from, bytes, own_stream_), "A copy to the device failed",
        kAfterFailure);
  check(*driver_, driver_->cuStreamSynchronize(own_stream_), "A copy to the device failed", kAfterFailure);
}

void Device::download(void* to, Address from, std::size_t bytes) const {
  const Relaxed relaxed(*driver_);
  const Current current(*this);
  check(*driver_, driver_->cuMemcpyDtoHAsync(to, from, bytes, own_stream_), "A copy from the device failed",
        kAfterFailure);
  check(*driver_, driver_->cuStreamSynchronize(own_stream_), "A copy from the device failed", kAfterFailure);
}

void Device::wait() const {
  const Relaxed relaxed(*driver_);
  const Current current(*this);
  check(*driver_, driver_->cuCtxSynchronize(), "Waiting for the device failed", kAfterFailure);
}

void Device::finish_own() const {
  const Relaxed relaxed(*driver_);
  const Current current(*this);
  check(*driver_, driver_->cuStreamSynchronize(own_stream_), "Preparing a step failed", kAfterFailure);
}

Current::Current(const Device& device) : device_(device) {
  const Driver& driver = device.driver();
  check(driver, driver.cuCtxPushCurrent(device.context_), "The device's context cannot be used", kAfterFailure);
}

Current::~Current() {
  Context before = nullptr;
  device_.driver().cuCtxPopCurrent(&before);
}

Memory::Memory(const Device& device, std::size_t bytes) : device_(&device) {
  const Relaxed relaxed(device.driver());
  const Current current(device);
  check(
      device.driver(), device.driver().cuMemAlloc(&address_, bytes),
      ("No memory on device " + std::to_string(device.ordinal()) + " for " + std::to_string(bytes) + " bytes").c_str(),
      "Free some: torch.cuda.empty_cache() gives back what torch's allocator holds.");
}

// Freeing waits for what still uses the memory. Errors at the end of the process, when the driver is gone, are
// nobody's.
Memory::~Memory() {
  if (address_ == 0) return;
  const Relaxed relaxed(device_->driver());
  try {
    const Current current(*device_);
    device_->driver().cuMemFree(address_);
  } catch (...) {
    return;
  }
}

Memory::Memory(Memory&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)), address_(std::exchange(other.address_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(address_, other.address_);
  return *this;
}

}  // namespace cuda
}  // namespace fastlr
