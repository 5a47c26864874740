#include "cuda/driver.h"

#include <dlfcn.h>

#include "check.h"

namespace fastlr {
namespace cuda {
namespace {

template <class Entry>
bool resolve(void* library, Entry& entry, const char* name, std::string& missing) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  entry = reinterpret_cast<Entry>(symbol);
  return symbol != nullptr;
}

// The names of the entry points that the library lacks. Some carry the version of their signature.
std::string resolve_all(void* library, Driver& d) {
  std::string missing;
  resolve(library, d.cuInit, "cuInit", missing);
  resolve(library, d.cuDriverGetVersion, "cuDriverGetVersion", missing);
  resolve(library, d.cuGetErrorName, "cuGetErrorName", missing);
  resolve(library, d.cuGetErrorString, "cuGetErrorString", missing);
  resolve(library, d.cuDeviceGetCount, "cuDeviceGetCount", missing);
  resolve(library, d.cuDeviceGet, "cuDeviceGet", missing);
  resolve(library, d.cuDeviceGetName, "cuDeviceGetName", missing);
  resolve(library, d.cuDeviceGetAttribute, "cuDeviceGetAttribute", missing);
  resolve(library, d.cuDeviceTotalMem, "cuDeviceTotalMem_v2", missing);
  resolve(library, d.cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", missing);
  resolve(library, d.cuCtxPushCurrent, "cuCtxPushCurrent_v2", missing);
  resolve(library, d.cuCtxPopCurrent, "cuCtxPopCurrent_v2", missing);
  resolve(library, d.cuCtxSynchronize, "cuCtxSynchronize", missing);
  resolve(library, d.cuModuleLoadData, "cuModuleLoadData", missing);
  resolve(library, d.cuModuleGetFunction, "cuModuleGetFunction", missing);
  resolve(library, d.cuLaunchKernel, "cuLaunchKernel", missing);
  resolve(library, d.cuMemAlloc, "cuMemAlloc_v2", missing);
  resolve(library, d.cuMemFree, "cuMemFree_v2", missing);
  resolve(library, d.cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", missing);
  resolve(library, d.cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", missing);
  resolve(library, d.cuStreamCreate, "cuStreamCreate", missing);
  resolve(library, d.cuStreamSynchronize, "cuStreamSynchronize", missing);
  resolve(library, d.cuStreamIsCapturing, "cuStreamIsCapturing", missing);
  resolve(library, d.cuThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode", missing);
  return missing;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What stands in the way, or nothing.
std::string open_driver(Found& found) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return "no NVIDIA driver is installed (libcuda.so.1 was not found)";
  Driver& driver = found.driver;
  const std::string missing = resolve_all(library, driver);
  if (driver.cuDriverGetVersion != nullptr) driver.cuDriverGetVersion(&found.version);
  const bool old = found.version != 0 && found.version < kOldestVersion;
  if (old || !missing.empty()) {
    return "the NVIDIA driver is too old: it is for CUDA " + version_text(found.version) + ", and CUDA " +
           version_text(kOldestVersion) + " is needed (driver 525 or newer)" +
           (missing.empty() ? "" : "; it lacks " + missing);
  }
  Result result = driver.cuInit(0);
  if (result == 0) result = driver.cuDeviceGetCount(&found.device_count);
  if (result != 0) return "the NVIDIA driver does not start: " + describe(driver, result);
  return found.device_count > 0 ? "" : "there is no NVIDIA GPU that this process may use";
}

}  // namespace

const Found& find_driver() {
  static const Found& found = *[] {
    auto* result = new Found();  // never destroyed: device memory is given back until the process ends
    result->reason = open_driver(*result);
    result->usable = result->reason.empty();
    return result;
  }();
  return found;
}

std::string describe(const Driver& driver, Result error) {
  const char* text = nullptr;
  const char* name = nullptr;
  if (driver.cuGetErrorString(error, &text) != 0 || text == nullptr) text = "unknown error";
  if (driver.cuGetErrorName(error, &name) != 0 || name == nullptr) return text + (" " + std::to_string(error));
  return std::string(text) + " (" + name + ")";
}

void check(const Driver& driver, Result result, const char* what, const char* remedy) {
  if (result != 0) raise(ErrorKind::runtime, what, describe(driver, result), remedy);
}

}  // namespace cuda
}  // namespace fastlr
