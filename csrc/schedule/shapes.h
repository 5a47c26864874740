// What one instruction computes at one step, on host and device: with math.h, the only schedule arithmetic.
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
using ::fastlr::schedule::Op;
using ::fastlr::schedule::ProgramView;

// The smaller of the part that is done and the part that is left, in [0, 1/2]: the one that keeps its digits.
struct Phase {
  double small;
  double lead;  // below 0 in the first half; no bool, which would keep the loops from vectorising

  FASTLR_HD bool early() const { return lead < 0.0; }
  FASTLR_HD double done() const { return early() ? small : 1.0 - small; }
  FASTLR_HD double left() const { return early() ? 1.0 - small : small; }
};

FASTLR_HD inline Phase phase_at(const Instruction& span, int64_t t) {
  const double now = to_double(t);
  const double done = now - span.origin;
  const double left = span.finish - now;
  const double part = done < left ? done : left;
  return {(part > 0.0 ? part : 0.0) / span.length, done - left};
}

// The phase whose part done is raised to the warp; each half keeps the digits of its smaller part.
FASTLR_HD inline Phase warped(const Instruction& span, const Phase& phase) {
  const double raised = pow(phase.done(), span.warp);
  const double left = phase.early() ? 1.0 - raised : pow_complement(phase.small, span.warp);
  const double done = phase.early() ? raised : 1.0 - left;
  return {done < left ? done : left, done - left};
}

// Exact at both ends, since a weight of 0 adds nothing.
FASTLR_HD inline double mix(const Instruction& span, double start_weight, double end_weight) {
  return fma(span.start, start_weight, span.end * end_weight);
}

// The smaller weight is given and the other is its complement: the tail of a decay to 0 keeps its digits.
FASTLR_HD inline double mix_small(const Instruction& span, double lead, double small) {
  const double large = 1.0 - small;
  return mix(span, lead < 0.0 ? large : small, lead < 0.0 ? small : large);
}

FASTLR_HD inline double linear(const Instruction& span, const Phase& phase) {
  return mix_small(span, phase.lead, phase.small);
}

FASTLR_HD inline double cosine(const Instruction& span, const Phase& phase) {
  return mix_small(span, phase.lead, sin_squared(phase.small));
}

// The weight of the start is a power of the part left, or that of the end one of the part done.
FASTLR_HD inline double polynomial(const Instruction& span, const Phase& phase, bool of_done) {
  const double weight = pow(of_done ? phase.done() : phase.left(), span.power);
  return mix(span, of_done ? 1.0 - weight : weight, of_done ? weight : 1.0 - weight);
}

FASTLR_HD inline double parabola(const Instruction& span, const Phase& phase) {
  const double weight = phase.left() * phase.left();
  return mix(span, weight, 1.0 - weight);
}

// (1 - tanh(x)) / 2 = 1 / (1 + e^(2x)).
FASTLR_HD inline double tanh(const Instruction& span, const Phase& phase) {
  const double weight = 1.0 / (1.0 + exp2(fma(span.lower, phase.left(), span.upper * phase.done()), 0.0));
  return mix(span, weight, 1.0 - weight);
}

// From the nearer end, so that both ends are exact.
FASTLR_HD inline double geometric(const Instruction& span, const Phase& phase) {
  const double part = phase.early() ? phase.small : -phase.small;
  const double high = part * span.rate_hi;
  return (phase.early() ? span.start : span.end) * exp2(high, fma(part, span.rate_hi, -high) + part * span.rate_lo);
}

FASTLR_HD inline double line(const Instruction& span, int64_t t) {
  const double now = to_double(t);
  const double after = now - span.finish;
  const double before = span.origin - now;
  const double outside = (after > 0.0 ? after : 0.0) - (before > 0.0 ? before : 0.0);
  return fma(span.end - span.start, outside / span.length, linear(span, phase_at(span, t)));
}

FASTLR_HD inline double logarithmic(const Instruction& span, int64_t t) {
  const double since = to_double(t) - span.origin;
  const double inside = since < span.length ? since : span.length;
  const double weight = log2(1.0 + (inside > 0.0 ? inside : 0.0)).high / span.rate_hi;
  return mix(span, 1.0 - weight, weight);
}

// gamma^n as 2^(n * log2(gamma)) with the exponent as a sum of two: its rounding would grow with n.
FASTLR_HD inline double exponential(const Instruction& decay, int64_t count) {
  const double n = to_double(count);
  const double high = n * decay.rate_hi;
  return decay.start * exp2(high, fma(n, decay.rate_hi, -high) + n * decay.rate_lo);
}

FASTLR_HD inline double inverse_sqrt(const Instruction& decay, int64_t t) {
  return decay.start * sqrt(decay.finish / (to_double(t) - decay.origin));
}

FASTLR_HD inline double inverse_time(const Instruction& decay, int64_t t) {
  return decay.start / fma(decay.power, to_double(t), 1.0);
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

FASTLR_HD inline double table(const ProgramView& program, const Instruction& shape, int64_t t) {
  return program.values[shape.values + bounds_reached(program.bounds + shape.bounds, shape.count, t)];
}

FASTLR_HD inline double sample(const ProgramView& program, const Instruction& shape, int64_t t) {
  return program.values[shape.values + (t < shape.count ? t : shape.count - 1)];
}

// NaN, the mark of a step without a value, goes through.
FASTLR_HD inline double smaller(double a, double b) { return a < b || a != a ? a : b; }
FASTLR_HD inline double larger(double a, double b) { return a > b || a != a ? a : b; }

FASTLR_HD inline double raised(double base, double exponent) { return base == base ? pow(base, exponent) : base; }

FASTLR_HD inline double value_until(double value, int64_t t, int64_t last) {
  return t > last ? double_of(kNaN) : value;
}

FASTLR_HD inline double combined(Op op, double a, double b) {
  switch (op) {
    case Op::multiply:
      return a * b;
    case Op::add:
      return a + b;
    case Op::divide:
      return a / b;
    case Op::minimum:
      return smaller(a, b);
    default:
      return larger(a, b);
  }
}

FASTLR_HD inline int64_t shifted(int64_t t, int64_t offset) {
  if (offset >= 0) return t > offset ? t - offset : 0;
  return t > INT64_MAX + offset ? INT64_MAX : t - offset;
}

FASTLR_HD inline int64_t cycle_at(const Instruction& repeat, int64_t t) {
  const int64_t cycle = t / repeat.period;
  return repeat.offset == 0 || cycle < repeat.offset ? cycle : repeat.offset - 1;
}

}  // namespace schedule
}  // namespace FASTLR_ARCH
}  // namespace fastlr
