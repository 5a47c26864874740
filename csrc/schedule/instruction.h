// A schedule as the evaluator reads it: plain data, the same on the host and the device.
#pragma once

#include <cstdint>

namespace fastlr {
namespace schedule {

// Limits that the builder enforces, so that the evaluator needs no checks.
constexpr int32_t kMaxInstructions = 1 << 16;
constexpr int32_t kValueDepth = 8;
constexpr int32_t kTimeDepth = 8;
constexpr int32_t kMaxSamples = 1 << 30;
constexpr int64_t kMaxSteps = int64_t{1} << 53;

enum class Op : int32_t {
  // Shapes leave one value. Those up to line go from start at step origin to end at step finish.
  constant,      // start
  linear,        // along a line
  cosine,        // along half a cosine
  polynomial,    // along (part left)^power
  parabola,      // along (part left)^2
  power,         // along (part done)^power
  tanh,          // along a tanh between lower and upper
  geometric,     // by equal factors
  logarithmic,   // along ln(1 + t)
  line,          // along a line that goes on at both ends
  exponential,   // start * gamma^(t / period)
  staircase,     // start * gamma^floor(t / period)
  inverse_sqrt,  // start * sqrt(finish / (t - origin))
  inverse_time,  // start / (1 + power * t)
  table,         // values[number of bounds <= t]
  samples,       // values[min(t, count - 1)]
  // Operators take the topmost value, or the two topmost.
  multiply,
  add,
  divide,
  minimum,
  maximum,
  raise_to,  // ^power, of a value >= 0
  until,     // NaN where t > offset
  // Scopes give what they enclose another time.
  shift,     // t - offset, held at 0 below
  hold,      // min(t, offset)
  floor,     // floor(t / period) * offset
  repeat,    // t - period * min(floor(t / period), offset - 1); offset 0 goes on without end
  sequence,  // to the piece that t falls into, with t counted from the piece's start
  piece,     // one row of a sequence's jump table, never executed
  leave,     // the time before the innermost scope; go on at target
};

struct Instruction {
  Op op = Op::constant;
  int32_t target = 0;    // piece, leave: index of an instruction
  int32_t bounds = 0;    // table, sequence: index of the first bound
  int32_t count = 0;     // table, sequence: number of bounds; samples: number of values
  int32_t values = 0;    // table, samples: index of the first value
  int64_t offset = 0;    // steps, or cycles
  int64_t period = 1;    // steps
  double start = 0.0;    // value
  double end = 0.0;      // value
  double origin = 0.0;   // step, may be fractional
  double finish = 0.0;   // step, may be fractional
  double length = 1.0;   // finish - origin
  double power = 1.0;    // an exponent, or a rate
  double warp = 1.0;     // cosine, polynomial: the part done is raised to it
  double lower = 0.0;    // tanh: its argument at origin, times 2 * log2(e)
  double upper = 0.0;    // tanh: at finish
  double rate_hi = 0.0;  // exponential: log2(gamma) / period as a sum of two; geometric: log2(end / start)
  double rate_lo = 0.0;  // logarithmic: rate_hi is log2(1 + length)
};

struct ProgramView {
  const Instruction* code;
  int32_t size;
  const int64_t* bounds;
  const double* values;
  bool partial;  // there may be steps without a value
};

}  // namespace schedule
}  // namespace fastlr
