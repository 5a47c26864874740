// NVIDIA's driver, opened at the first use of CUDA: the extension links none of its libraries, and imports without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastlr {
namespace cuda {

using Result = int;  // CUresult; 0 is success
using Address = unsigned long long;
using Context = struct ContextTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;
using Stream = struct StreamTag*;

// The entry points that are used, by their names in cuda.h.
struct Driver {
  Result (*cuInit)(unsigned flags);
  Result (*cuDriverGetVersion)(int* version);
  Result (*cuGetErrorName)(Result error, const char** name);
  Result (*cuGetErrorString)(Result error, const char** text);
  Result (*cuDeviceGetCount)(int* count);
  Result (*cuDeviceGet)(int* device, int ordinal);
  Result (*cuDeviceGetName)(char* name, int length, int device);
  Result (*cuDeviceGetAttribute)(int* value, int attribute, int device);
  Result (*cuDeviceTotalMem)(std::size_t* bytes, int device);
  Result (*cuDevicePrimaryCtxRetain)(Context* context, int device);
  Result (*cuCtxPushCurrent)(Context context);
  Result (*cuCtxPopCurrent)(Context* context);
  Result (*cuCtxSynchronize)();
  Result (*cuModuleLoadData)(Module* module, const void* image);
  Result (*cuModuleGetFunction)(Function* function, Module module, const char* name);
  Result (*cuLaunchKernel)(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                           unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** arguments,
                           void** extra);
  Result (*cuMemAlloc)(Address* address, std::size_t bytes);
  Result (*cuMemFree)(Address address);
  Result (*cuMemcpyHtoDAsync)(Address to, const void* from, std::size_t bytes, Stream stream);
  Result (*cuMemcpyDtoHAsync)(void* to, Address from, std::size_t bytes, Stream stream);
  Result (*cuStreamCreate)(Stream* stream, unsigned flags);
  Result (*cuStreamSynchronize)(Stream stream);
  Result (*cuStreamIsCapturing)(Stream stream, int* status);
  Result (*cuThreadExchangeStreamCaptureMode)(int* mode);
};

struct Found {
  bool usable = false;
  std::string reason;  // why it is not
  int version = 0;     // 12040 for CUDA 12.4; 0 where it is not known
  int device_count = 0;
  Driver driver = {};
};

// Looks once. Never raises.
const Found& find_driver();

// "out of memory (CUDA_ERROR_OUT_OF_MEMORY)", in the driver's own words.
std::string describe(const Driver& driver, Result error);

// Raises RuntimeError unless the result is success.
void check(const Driver& driver, Result result, const char* what, const char* remedy);

// Machine code of CUDA 12 is loaded from driver 525 on.
constexpr int kOldestVersion = 12000;
// From here on a launch takes 32764 bytes of arguments.
constexpr int kLongArgumentsVersion = 12010;

}  // namespace cuda
}  // namespace fastlr
