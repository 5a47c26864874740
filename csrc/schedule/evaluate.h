// (program, step) -> value, on host and device: the only schedule arithmetic.
#pragma once

#include <cstdint>

#include "arch.h"
#include "host_device.h"
#include "schedule/instruction.h"
#include "schedule/math.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace schedule {

using ::fastlr::schedule::Instruction;
using ::fastlr::schedule::kTimeDepth;
using ::fastlr::schedule::kValueDepth;
using ::fastlr::schedule::Op;
using ::fastlr::schedule::ProgramView;

// The part of a span that is done and the part that is left, each in [0, 1] and each with its own small relative error.
struct Phase {
  double done;
  double left;
};

FASTLR_HD inline double clamp_unit(double x) { return x < 0.0 ? 0.0 : (x > 1.0 ? 1.0 : x); }

FASTLR_HD inline Phase phase_at(const Instruction& span, int64_t t) {
  const double now = static_cast<double>(t);
  const double length = span.finish - span.origin;
  return {clamp_unit((now - span.origin) / length), clamp_unit((span.finish - now) / length)};
}

// Exact at both ends, since a weight of 0 adds nothing.
FASTLR_HD inline double mix(const Instruction& span, double start_weight, double end_weight) {
  return fma(span.start, start_weight, span.end * end_weight);
}

FASTLR_HD inline double linear(const Instruction& span, int64_t t) {
  const Phase phase = phase_at(span, t);
  return mix(span, phase.left, phase.done);
}

// The smaller weight is computed and the other is its complement: the tail of a decay to 0 keeps its digits.
FASTLR_HD inline double cosine(const Instruction& span, int64_t t) {
  const Phase phase = phase_at(span, t);
  const bool early = phase.done < phase.left;
  const double small = sin_squared(early ? phase.done : phase.left);
  return mix(span, early ? 1.0 - small : small, early ? small : 1.0 - small);
}

FASTLR_HD inline double polynomial(const Instruction& span, int64_t t) {
  const double weight = pow(phase_at(span, t).left, span.power);
  return mix(span, weight, 1.0 - weight);
}

// gamma^n as 2^(n * log2(gamma)) with the exponent as a sum of two: its rounding would grow with n.
FASTLR_HD inline double exponential(const Instruction& decay, int64_t t) {
  const double n = static_cast<double>(decay.period == 1 ? t : t / decay.period);
  const double high = n * decay.rate_hi;
  return decay.start * exp2(high, fma(n, decay.rate_hi, -high) + n * decay.rate_lo);
}

// How many of the increasing bounds are <= t.
FASTLR_HD inline int32_t bounds_reached(const int64_t* bounds, int32_t count, int64_t t) {
  int32_t reached = 0;
  while (count > 0) {
    const int32_t half = count / 2;
    const bool above = bounds[reached + half] <= t;
    reached += above ? half + 1 : 0;
    count = above ? count - half - 1 : half;
  }
  return reached;
}

FASTLR_HD inline int64_t shifted(int64_t t, int64_t offset) {
  if (offset >= 0) return t > offset ? t - offset : 0;
  return t > INT64_MAX + offset ? INT64_MAX : t - offset;
}

FASTLR_HD inline double shape_value(const ProgramView& program, const Instruction& shape, int64_t t) {
  switch (shape.op) {
    case Op::linear:
      return linear(shape, t);
    case Op::cosine:
      return cosine(shape, t);
    case Op::polynomial:
      return polynomial(shape, t);
    case Op::exponential:
      return exponential(shape, t);
    case Op::table:
      return program.values[shape.values + bounds_reached(program.bounds + shape.bounds, shape.count, t)];
    default:
      return shape.start;
  }
}

// The value for update `step` >= 0. The builder has checked every depth, index and jump.
FASTLR_HD inline double evaluate(const ProgramView& program, int64_t step) {
  double values[kValueDepth];
  int64_t times[kTimeDepth];
  int32_t value_count = 0;
  int32_t time_count = 0;
  values[0] = 0.0;
  for (int32_t at = 0; at < program.size;) {
    const Instruction& now = program.code[at];
    ++at;
    switch (now.op) {
      case Op::multiply:
        --value_count;
        values[value_count - 1] *= values[value_count];
        break;
      case Op::add:
        --value_count;
        values[value_count - 1] += values[value_count];
        break;
      case Op::shift:
        times[time_count++] = step;
        step = shifted(step, now.offset);
        break;
      case Op::sequence: {
        const int64_t* bounds = program.bounds + now.bounds;
        const int32_t piece = bounds_reached(bounds, now.count, step);
        times[time_count++] = step;
        step -= piece > 0 ? bounds[piece - 1] : 0;
        at = program.code[at + piece].target;
        break;
      }
      case Op::leave:
        step = times[--time_count];
        at = now.target;
        break;
      default:
        values[value_count++] = shape_value(program, now, step);
    }
  }
  return values[0];
}

}  // namespace schedule
}  // namespace FASTLR_ARCH
}  // namespace fastlr
