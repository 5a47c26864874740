// (program, step) -> value, on host and device.
#pragma once

#include <cstdint>

#include "arch.h"
#include "host_device.h"
#include "schedule/shapes.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace schedule {

using ::fastlr::schedule::kTimeDepth;
using ::fastlr::schedule::kValueDepth;

// Of a shape between two ends. Its phase is made in one place, as the functions below are called in one: on the device
// each further call is a copy of the code in every kernel.
FASTLR_HD inline double span_value(const Instruction& span, int64_t t) {
  Phase phase = phase_at(span, t);
  if (span.warp != 1.0) phase = warped(span, phase);
  switch (span.op) {
    case Op::cosine:
      return cosine(span, phase);
    case Op::polynomial:
    case Op::power:
      return polynomial(span, phase, span.op == Op::power);
    case Op::parabola:
      return parabola(span, phase);
    case Op::tanh:
      return tanh(span, phase);
    case Op::geometric:
      return geometric(span, phase);
    default:
      return linear(span, phase);
  }
}

FASTLR_HD inline double shape_value(const ProgramView& program, const Instruction& shape, int64_t t) {
  switch (shape.op) {
    case Op::linear:
    case Op::cosine:
    case Op::polynomial:
    case Op::parabola:
    case Op::power:
    case Op::tanh:
    case Op::geometric:
      return span_value(shape, t);
    case Op::logarithmic:
      return logarithmic(shape, t);
    case Op::line:
      return line(shape, t);
    case Op::exponential:
    case Op::staircase:
      return exponential(shape, shape.op == Op::staircase ? t / shape.period : t);
    case Op::inverse_sqrt:
      return inverse_sqrt(shape, t);
    case Op::inverse_time:
      return inverse_time(shape, t);
    case Op::table:
      return table(program, shape, t);
    case Op::samples:
      return sample(program, shape, t);
    default:
      return shape.start;
  }
}

// The time inside a scope that is no sequence.
FASTLR_HD inline int64_t time_inside(const Instruction& scope, int64_t t) {
  switch (scope.op) {
    case Op::shift:
      return shifted(t, scope.offset);
    case Op::hold:
      return t < scope.offset ? t : scope.offset;
    case Op::floor:
      return t / scope.period * scope.offset;
    default:
      return t - cycle_at(scope, t) * scope.period;
  }
}

// What an evaluation puts aside. On the device a thread's own array would be slow local memory: it brings another one.
struct Stack {
  FASTLR_HD double& value(int32_t at) { return values[at]; }
  FASTLR_HD int64_t& time(int32_t at) { return times[at]; }

  double values[kValueDepth];
  int64_t times[kTimeDepth];
};

// The value for update `step` >= 0, NaN where there is none. The builder has checked every depth, index and jump.
template <class AnyStack>
FASTLR_HD inline double evaluate(const ProgramView& program, int64_t step, AnyStack& stack) {
  int32_t value_count = 0;
  int32_t time_count = 0;
  stack.value(0) = 0.0;
  for (int32_t at = 0; at < program.size;) {
    const Instruction& now = program.code[at];
    ++at;
    switch (now.op) {
      case Op::multiply:
      case Op::add:
      case Op::divide:
      case Op::minimum:
      case Op::maximum:
        --value_count;
        stack.value(value_count - 1) = combined(now.op, stack.value(value_count - 1), stack.value(value_count));
        break;
      case Op::raise_to:
        stack.value(value_count - 1) = raised(stack.value(value_count - 1), now.power);
        break;
      case Op::until:
        stack.value(value_count - 1) = value_until(stack.value(value_count - 1), step, now.offset);
        break;
      case Op::shift:
      case Op::hold:
      case Op::floor:
      case Op::repeat:
        stack.time(time_count++) = step;
        step = time_inside(now, step);
        break;
      case Op::sequence: {
        const int64_t* bounds = program.bounds + now.bounds;
        const int32_t piece = bounds_reached(bounds, now.count, step);
        stack.time(time_count++) = step;
        step -= piece > 0 ? bounds[piece - 1] : 0;
        at = program.code[at + piece].target;
        break;
      }
      case Op::leave:
        step = stack.time(--time_count);
        at = now.target;
        break;
      default:
        stack.value(value_count++) = shape_value(program, now, step);
    }
  }
  return stack.value(0);
}

FASTLR_HD inline double evaluate(const ProgramView& program, int64_t step) {
  Stack stack;
  return evaluate(program, step, stack);
}

}  // namespace schedule
}  // namespace FASTLR_ARCH
}  // namespace fastlr
