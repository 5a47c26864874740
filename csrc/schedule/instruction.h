// A schedule as the evaluator reads it: plain data, the same on the host and the device.
#pragma once

#include <cstdint>

namespace fastlr {
namespace schedule {

// Limits that the builder enforces, so that the evaluator needs no checks.
constexpr int32_t kMaxInstructions = 1 << 16;
constexpr int32_t kValueDepth = 8;
constexpr int32_t kTimeDepth = 8;
constexpr int64_t kMaxSteps = int64_t{1} << 53;

enum class Op : int32_t {
  constant,     // start
  linear,       // start -> end while t goes from origin to finish
  cosine,       // the same along half a cosine
  polynomial,   // the same along (part left)^power
  exponential,  // start * gamma^floor(t / period)
  table,        // values[number of bounds <= t]
  multiply,     // the two topmost values
  add,          // the two topmost values
  shift,        // t - offset, held at 0 below
  sequence,     // to the piece that t falls into, with t counted from the piece's start
  piece,        // one row of a sequence's jump table, never executed
  leave,        // the time before the innermost shift or sequence; go on at target
};

struct Instruction {
  Op op = Op::constant;
  int32_t target = 0;    // piece, leave: index of an instruction
  int32_t bounds = 0;    // table, sequence: index of the first bound
  int32_t count = 0;     // table, sequence: number of bounds
  int32_t values = 0;    // table: index of the first value
  int64_t offset = 0;    // shift
  int64_t period = 1;    // exponential
  double start = 0.0;    // value
  double end = 0.0;      // value
  double origin = 0.0;   // step, may be fractional
  double finish = 0.0;   // step, may be fractional
  double power = 1.0;    // polynomial
  double rate_hi = 0.0;  // exponential: log2(gamma) as a sum of two
  double rate_lo = 0.0;
};

struct ProgramView {
  const Instruction* code;
  int32_t size;
  const int64_t* bounds;
  const double* values;
};

}  // namespace schedule
}  // namespace fastlr
