// The entry points for modules, launches and streams.
#include <cstring>
#include <memory>
#include <vector>

#include "driver.h"
#include "entry.h"

using namespace standin;

namespace {

int64_t number_of(Handle handle) { return static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(handle)); }

// Machine code runs on its own architecture and later ones of the same generation; PTX on any that is not earlier.
int image_refusal(const Image& image, const Device& device) {
  if (image.is_ptx && image.ptx_version > newest_ptx(driver().version)) return kUnsupportedPtxVersion;
  const bool runs =
      image.architecture <= device.capability && (image.is_ptx || image.architecture / 10 == device.capability / 10);
  if (!runs) return kNoBinaryForGpu;
  constexpr std::size_t kShort = 4096;
  constexpr int kTakesLong = 12010;
  for (const auto& [kernel, bytes] : image.arguments) {
    if (bytes > kShort && driver().version < kTakesLong) return image.is_ptx ? kInvalidPtx : kInvalidImage;
  }
  return kSuccess;
}

// The kernel that takes as many bytes as the one of this name in the image.
const Kernel* matching_kernel(const std::string& name, std::size_t bytes) {
  for (const bool long_arguments : {true, false}) {
    const Kernel* kernel = find_kernel(name, long_arguments);
    if (kernel != nullptr && kernel->argument_bytes == bytes) return kernel;
  }
  return nullptr;
}

struct Launch {
  Dim3 grid, block;
  unsigned shared;
  void** params;
  void** extra;
};

// The arguments, where they are given as one parameter, or in a buffer of exactly their size.
const void* arguments_of(const Launch& launch, std::size_t bytes) {
  if (launch.params != nullptr) return launch.extra == nullptr ? launch.params[0] : nullptr;
  const void* buffer = nullptr;
  for (void** extra = launch.extra; extra != nullptr && number_of(*extra) != kExtraEnd; extra += 2) {
    if (number_of(*extra) == kExtraBuffer) buffer = extra[1];
    if (number_of(*extra) == kExtraSize && *static_cast<std::size_t*>(extra[1]) != bytes) return nullptr;
  }
  return buffer;
}

std::string launch_problem(const Launch& launch, const Kernel& kernel) {
  const Dim3& grid = launch.grid;
  const auto in = [](unsigned value, unsigned most) { return value >= 1 && value <= most; };
  if (!in(grid.x, 0x7fffffff) || !in(grid.y, 65535) || !in(grid.z, 65535)) {
    return "a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z);
  }
  if (launch.block.x != kernel.threads || launch.block.y != 1 || launch.block.z != 1) {
    return "a block of " + std::to_string(launch.block.x) + " threads instead of " + std::to_string(kernel.threads);
  }
  if (launch.shared != 0) return "shared memory that the kernel does not declare";
  return arguments_of(launch, kernel.argument_bytes) == nullptr ? "no arguments, or not of the kernel's size" : "";
}

// Why the kernel may not touch an address among its arguments, or "".
std::string address_problem(const Kernel& kernel, const void* arguments, int device) {
  std::string problem;
  kernel.visit(arguments, [&](const void* address) {
    if (problem.empty()) problem = driver().memory.refusal(address, device);
  });
  return problem;
}

int execute_launch(const Kernel& kernel, const Launch& launch, const std::vector<char>& arguments, int device) {
  constexpr int kIllegalAddress = 700;
  Driver& all = driver();
  const std::string what = std::string(kernel.name) + " on device " + std::to_string(device) + ": ";
  const std::string wrong = address_problem(kernel, arguments.data(), device);
  if (!wrong.empty()) return all.failed(what + wrong, kIllegalAddress);
  ++all.execution.seed;
  const std::string problem = execute(launch.grid, launch.block, [&] { kernel.call(arguments.data()); }, all.execution);
  return problem.empty() ? kSuccess : all.failed(what + problem, kLaunchFailed);
}

int submit_launch(Event& event, const Function& function, const Launch& launch, Handle handle) {
  Driver& all = driver();
  Device& device = *all.current();
  const Kernel& kernel = *function.kernel;
  event.add("kernel", kernel.name);
  event.add("grid", std::vector<int64_t>{launch.grid.x, launch.grid.y, launch.grid.z});
  event.add("block", std::vector<int64_t>{launch.block.x, launch.block.y, launch.block.z});
  event.add("stream", number_of(handle)).add("bytes", static_cast<int64_t>(kernel.argument_bytes));
  if (function.module->device != device.number) return kInvalidHandle;
  Stream* stream = all.streams.find(handle, device);
  if (stream == nullptr) return kInvalidHandle;
  const std::string problem = launch_problem(launch, kernel);
  if (!problem.empty()) return all.failed(std::string(kernel.name) + ": " + problem, kInvalidValue);
  const auto* bytes = static_cast<const char*>(arguments_of(launch, kernel.argument_bytes));
  std::vector<char> arguments(bytes, bytes + kernel.argument_bytes);
  event.add("digest", digest(arguments.data(), arguments.size())).add("captured", stream->capture ? 1 : 0);
  Event replayed("replay");
  replayed.add("kernel", kernel.name).add("grid", launch.grid.x);
  const auto run = [&kernel, launch, number = device.number, arguments = std::move(arguments)] {
    return execute_launch(kernel, launch, arguments, number);
  };
  return all.streams.submit(*stream, device, {std::move(replayed), run});
}

}  // namespace

CU_ENTRY(cuModuleLoadData)(Handle* out, const void* data) {
  return run_call("cuModuleLoadData", Needs::context, [&](Event& event) -> int {
    Driver& all = driver();
    const Device& device = *all.current();
    if (out == nullptr) return kInvalidValue;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
    auto module = std::make_unique<Module>(Module{device.number, {}});
    if (!read_image(data, module->image)) return kInvalidImage;
    event.add("architecture", module->image.architecture).add("ptx", module->image.is_ptx ? 1 : 0);
    if (const int refusal = image_refusal(module->image, device)) return refusal;
    *out = module.get();
    all.modules.push_back(std::move(module));
    return kSuccess;
  });
}

CU_ENTRY(cuModuleGetFunction)(Handle* out, Handle handle, const char* name) {
  return run_call("cuModuleGetFunction", Needs::context, [&](Event& event) -> int {
    Driver& all = driver();
    if (out == nullptr || name == nullptr) return kInvalidValue;
    event.add("kernel", name);
    for (const auto& module : all.modules) {
      if (module.get() != handle) continue;
      const auto found = module->image.arguments.find(name);
      if (found == module->image.arguments.end()) return kNotFound;
      const Kernel* kernel = matching_kernel(name, found->second);
      if (kernel == nullptr) {
        const std::string bytes = std::to_string(found->second);
        return all.failed(std::string(name) + ": no kernel takes " + bytes + " bytes as the image does", kNotFound);
      }
      all.functions.push_back(std::make_unique<Function>(Function{module.get(), kernel}));
      *out = all.functions.back().get();
      return kSuccess;
    }
    return kInvalidHandle;
  });
}

CU_ENTRY(cuLaunchKernel)
(Handle handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
 unsigned shared, Handle stream, void** params, void** extra) {
  const Launch launch{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, params, extra};
  return run_call("cuLaunchKernel", Needs::context, [&](Event& event) -> int {
    for (const auto& function : driver().functions) {
      if (function.get() == handle) return submit_launch(event, *function, launch, stream);
    }
    return kInvalidHandle;
  });
}

CU_ENTRY(cuStreamCreate)(Handle* out, unsigned flags) {
  return run_call("cuStreamCreate", Needs::context, [&](Event& event) -> int {
    if (out == nullptr || flags > kStreamNonBlocking) return kInvalidValue;
    *out = driver().streams.create(driver().current()->number, flags != kStreamNonBlocking);
    event.add("stream", number_of(*out));
    return kSuccess;
  });
}

CU_ENTRY(cuStreamSynchronize)(Handle handle) {
  return run_call("cuStreamSynchronize", Needs::context, [&](Event& event) -> int {
    Driver& all = driver();
    event.add("stream", number_of(handle));
    Stream* stream = all.streams.find(handle, *all.current());
    if (stream == nullptr) return kInvalidHandle;
    if (const int conflict = all.streams.capture_conflict(*stream, *all.current())) return conflict;
    if (const int conflict = all.streams.wait_conflict(all.current()->number, stream)) return conflict;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
    return all.streams.finish(*stream);
  });
}

CU_ENTRY(cuStreamIsCapturing)(Handle handle, int* status) {
  return run_call("cuStreamIsCapturing", Needs::context, [&](Event& event) -> int {
    Driver& all = driver();
    event.add("stream", number_of(handle));
    const Stream* stream = all.streams.find(handle, *all.current());
    if (stream == nullptr) return kInvalidHandle;
    if (status == nullptr) return kInvalidValue;
    if (all.streams.capture_conflict(*stream, *all.current()) == kCaptureImplicit) return kCaptureImplicit;
    const Capture* capture = stream->capture.get();
    *status = static_cast<int>(capture == nullptr ? CaptureStatus::none
                               : capture->valid   ? CaptureStatus::active
                                                  : CaptureStatus::invalidated);
    return kSuccess;
  });
}

CU_ENTRY(cuThreadExchangeStreamCaptureMode)(int* mode) {
  return run_call("cuThreadExchangeStreamCaptureMode", Needs::initialized, [&](Event& event) -> int {
    if (mode == nullptr || *mode < 0 || *mode > 2) return kInvalidValue;
    event.add("mode", *mode);
    CaptureMode& own = driver().thread().mode;
    const auto before = static_cast<int>(own);
    own = static_cast<CaptureMode>(*mode);
    *mode = before;
    return kSuccess;
  });
}
