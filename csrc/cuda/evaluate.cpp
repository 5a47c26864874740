#include "cuda/evaluate.h"

#include <algorithm>
#include <memory>

#include "cuda/programs.h"
#include "cuda/state.h"

namespace fastlr {
namespace cuda {
namespace {

template <class Arguments>
void launch_rows(const Device& device, const std::vector<const schedule::Program*>& programs, const DeviceSteps& steps,
                 const DeviceTable& out, Stream stream) {
  const auto arguments = std::make_unique<Arguments>();
  arguments->row_stride = out.row_stride;
  arguments->steps = steps.array;
  arguments->first = steps.first;
  arguments->stride = steps.stride;
  arguments->count = steps.count;
  arguments->single = out.single ? 1 : 0;
  const auto blocks = static_cast<unsigned>((steps.count + kEvaluateThreads - 1) / kEvaluateThreads);
  const int64_t row_bytes = out.row_stride * static_cast<int64_t>(out.single ? sizeof(float) : sizeof(double));
  for (std::size_t first = 0; first < programs.size(); first += Arguments::kCapacity) {
    const std::size_t rows = std::min<std::size_t>(Arguments::kCapacity, programs.size() - first);
    for (std::size_t k = 0; k < rows; ++k) arguments->programs[k] = on_device(*programs[first + k], device)->view;
    arguments->out = static_cast<char*>(out.values) + static_cast<int64_t>(first) * row_bytes;
    const Current current(device);
    device.launch(Kernel::evaluate(), blocks, static_cast<unsigned>(rows), kEvaluateThreads, stream, arguments.get());
  }
}

}  // namespace

void evaluate(const Device& device, const std::vector<const schedule::Program*>& programs, const DeviceSteps& steps,
              const DeviceTable& out, Stream stream) {
  if (steps.count == 0) return;
  if (device.long_arguments()) {
    launch_rows<EvaluateArguments<kLongPrograms>>(device, programs, steps, out, stream);
  } else {
    launch_rows<EvaluateArguments<kShortPrograms>>(device, programs, steps, out, stream);
  }
}

}  // namespace cuda
}  // namespace fastlr
