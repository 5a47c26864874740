#include "cpu/evaluate.h"

#include <algorithm>
#include <atomic>

#include "cpu/pool.h"

namespace fastlr {
namespace {

// Steps of one schedule that a thread evaluates before it takes the next part.
constexpr int64_t kPart = 4096;
// Below two parts of work a second thread costs more than it saves.
constexpr int64_t kThreadedValues = 2 * kPart;

StepSpan part_of(const StepSpan& steps, int64_t begin, int64_t count) {
  StepSpan part = steps;
  if (steps.array != nullptr) {
    part.array += begin;
  } else {
    part.first += begin * steps.stride;
  }
  part.count = count;
  return part;
}

}  // namespace

int64_t evaluate(const std::vector<const schedule::Program*>& programs, const StepSpan& steps, const ValueTable& out,
                 int threads) {
  const auto rows = static_cast<int64_t>(programs.size());
  const int64_t columns = (steps.count + kPart - 1) / kPart;
  const Kernels& table = kernels();
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> missing{0};
  const auto work = [&] {
    for (int64_t at = next.fetch_add(1); at < rows * columns; at = next.fetch_add(1)) {
      const int64_t row = at / columns;
      const int64_t begin = at % columns * kPart;
      const StepSpan part = part_of(steps, begin, std::min(kPart, steps.count - begin));
      const int64_t place = row * out.row_stride + begin;
      const schedule::ProgramView program = programs[row]->view();
      missing += out.single ? table.evaluate_single(program, part, static_cast<float*>(out.values) + place)
                            : table.evaluate(program, part, static_cast<double*>(out.values) + place);
    }
  };
  const bool alone = threads <= 1 || rows * steps.count < kThreadedValues;
  if (alone) {
    work();
  } else {
    run_on_threads(threads, work);
  }
  return missing;
}

}  // namespace fastlr
