// Builds and owns schedule programs. Step t is the number of updates done before: the first update uses t = 0.
#pragma once

#include <cstdint>
#include <memory>
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

// start * gamma^(t / period)
struct Decay {
  double start;
  double gamma;
  double period;
};

// Checked when it was built, and never changed.
class Program {
 public:
  ProgramView view() const {
    return {code_.data(), static_cast<int32_t>(code_.size()), bounds_.data(), values_.data(), partial_};
  }
  const std::vector<Instruction>& code() const { return code_; }
  const std::vector<int64_t>& bounds() const { return bounds_; }
  const std::vector<double>& values() const { return values_; }
  // What cuda/programs.cpp keeps of it, one for each device. Used under the GIL.
  std::vector<std::shared_ptr<const void>>& device_copies() const { return device_copies_; }

 private:
  friend class ProgramBuilder;
  Program() = default;

  std::vector<Instruction> code_;
  std::vector<int64_t> bounds_;
  std::vector<double> values_;
  bool partial_ = false;
  mutable std::vector<std::shared_ptr<const void>> device_copies_;
};

// Operands come before their operator. Each shape leaves one value, each piece or shift encloses exactly one.
class ProgramBuilder {
 public:
  void constant(double value);
  void linear(const Ramp& ramp);
  void line(const Ramp& ramp);
  void cosine(const Ramp& ramp, double warp);
  void polynomial(const Ramp& ramp, double power, double warp);
  void power(const Ramp& ramp, double power);
  void hyperbolic(const Ramp& ramp, double lower, double upper);
  void geometric(const Ramp& ramp);
  void logarithmic(const Ramp& ramp);
  void exponential(const Decay& decay, bool staircase);
  void inverse_sqrt(double start, double timescale, double offset);
  void inverse_time(double start, double rate);
  // values[i] from step bounds[i - 1] on: one value more than bounds.
  void table(const std::vector<int64_t>& bounds, const std::vector<double>& values);
  // values[t], the last one held.
  void samples(const std::vector<double>& values);

  void combine(Op op);
  void raise_to(double power);
  void until(int64_t last);

  // The step at which each piece but the first begins; then, for each piece, its instructions and end_piece().
  void begin_sequence(const std::vector<int64_t>& bounds);
  void end_piece() { close(Op::sequence); }
  // The time inside, as instruction.h has it; cycles = 0 repeats without end.
  void begin_shift(int64_t offset);
  void begin_hold(int64_t last);
  void begin_floor(int64_t period, int64_t stride);
  void begin_repeat(int64_t period, int64_t cycles);
  void end_scope(Op op) { close(op); }

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
  Instruction& emit_ramp(Op op, const Ramp& ramp);
  Instruction& begin(Op op);
  void require_values(int32_t needed) const;
  int32_t store_bounds(const std::vector<int64_t>& bounds);
  int32_t store_values(const std::vector<double>& values);
  void open(Op op, int32_t row, int32_t rows_end);
  void close(Op op);

  Program program_;
  std::vector<Scope> scopes_;
  int32_t value_count_ = 0;
};

}  // namespace schedule
}  // namespace fastlr
