// Schedule programs in device memory: copied at their first use on a device, and kept as long as they live.
#pragma once

#include <memory>

#include "cuda/device.h"
#include "schedule/program.h"

namespace fastlr {
namespace cuda {

struct DeviceProgram {
  Memory memory;
  schedule::ProgramView view;  // with addresses on the device
};

std::shared_ptr<const DeviceProgram> on_device(const schedule::Program& program, const Device& device);

}  // namespace cuda
}  // namespace fastlr
