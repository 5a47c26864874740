// Builds and owns schedule programs. Step t is the number of updates done before: the first update uses t = 0.
#pragma once

#include <cstdint>
#include <vector>

#include "schedule/instruction.h"

namespace fastlr {
namespace schedule {

// From `start` at step `origin` to `end` at step `finish`; both steps may be fractional.
struct Ramp {
  double start;
  double end;
  double origin;
  double finish;
};

// start * gamma^floor(t / period)
struct Decay {
  double start;
  double gamma;
  int64_t period;
};

// Checked when it was built, and never changed.
class Program {
 public:
  ProgramView view() const {
    return {code_.data(), static_cast<int32_t>(code_.size()), bounds_.data(), values_.data()};
  }
  const std::vector<Instruction>& code() const { return code_; }
  const std::vector<int64_t>& bounds() const { return bounds_; }
  const std::vector<double>& values() const { return values_; }

 private:
  friend class ProgramBuilder;
  Program() = default;

  std::vector<Instruction> code_;
  std::vector<int64_t> bounds_;
  std::vector<double> values_;
};

// Operands come before their operator. Each shape leaves one value, each piece or shift encloses exactly one.
class ProgramBuilder {
 public:
  void constant(double value);
  void linear(const Ramp& ramp);
  void cosine(const Ramp& ramp);
  void polynomial(const Ramp& ramp, double power);
  void exponential(const Decay& decay);
  // values[i] from step bounds[i - 1] on: one value more than bounds.
  void table(const std::vector<int64_t>& bounds, const std::vector<double>& values);
  void multiply();
  void add();

  // The step at which each piece but the first begins; then, for each piece, its instructions and end_piece().
  void begin_sequence(const std::vector<int64_t>& bounds);
  void end_piece();
  void begin_shift(int64_t offset);
  void end_shift();

  Program build() const;

 private:
  struct Scope {
    Op op;
    int32_t value_count;  // before it
    int32_t row;          // the next row of the jump table
    int32_t rows_end;
    std::vector<int32_t> exits;
  };

  int32_t here() const { return static_cast<int32_t>(program_.code_.size()); }
  Instruction& emit(Op op);
  Instruction& emit_shape(Op op);
  void emit_ramp(Op op, const Ramp& ramp, double power);
  void combine(Op op);
  int32_t store_bounds(const std::vector<int64_t>& bounds);
  void open(Op op, int32_t row, int32_t rows_end);
  void close(Op op);

  Program program_;
  std::vector<Scope> scopes_;
  int32_t value_count_ = 0;
};

}  // namespace schedule
}  // namespace fastlr
