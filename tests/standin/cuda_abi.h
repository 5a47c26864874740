// The driver API as far as it is offered here: types, numbers and texts of NVIDIA's cuda.h, version 12.
#pragma once

#include <cstdint>

namespace standin {

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using Handle = void*;  // of a context, module, function or stream

enum Result : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kDeinitialized = 4,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kUnsupportedPtxVersion = 222,
  kInvalidHandle = 400,
  kNotFound = 500,
  kLaunchOutOfResources = 701,
  kLaunchFailed = 719,
  kNotPermitted = 800,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureImplicit = 906,
  kUnknown = 999,
};

enum Attribute : int {
  kMaxThreadsPerBlock = 1,
  kMaxSharedMemoryPerBlock = 8,
  kWarpSize = 10,
  kClockRate = 13,
  kMultiprocessorCount = 16,
  kMaxThreadsPerMultiprocessor = 39,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
};

enum class CaptureMode : int { global = 0, thread_local_ = 1, relaxed = 2 };
enum class CaptureStatus : int { none = 0, active = 1, invalidated = 2 };

constexpr unsigned kStreamNonBlocking = 1;

// Streams that need no creation.
inline bool is_legacy(Handle stream) { return reinterpret_cast<std::uintptr_t>(stream) <= 1; }

// The words in cuLaunchKernel's `extra`.
constexpr std::uintptr_t kExtraEnd = 0, kExtraBuffer = 1, kExtraSize = 2;

// nullptr for numbers that the driver does not know.
const char* name_of(int result);
const char* text_of(int result);

// After these a context is of no more use: every later call gives the same again.
bool is_sticky(int result);

}  // namespace standin
