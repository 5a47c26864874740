// Many schedules at many steps, on a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "schedule/program.h"

namespace fastlr {
namespace cuda {

// Steps in device memory, or first + n * stride where the array is null.
struct DeviceSteps {
  const int64_t* array;
  int64_t first;
  int64_t stride;
  int64_t count;
};

// Row k of the values starts at values + k * row_stride (in elements). All on the device.
struct DeviceTable {
  void* values;
  int64_t row_stride;
  bool single;  // float32 instead of float64
};

// out[k, n] = programs[k](steps[n]); NaN at a step below 0, or where there is no value. One launch for 816 programs.
void evaluate(const Device& device, const std::vector<const schedule::Program*>& programs, const DeviceSteps& steps,
              const DeviceTable& out, Stream stream);

}  // namespace cuda
}  // namespace fastlr
