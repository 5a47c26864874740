#include "schedule/program.h"

#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "check.h"

namespace fastlr {
namespace schedule {
namespace {

template <class T>
std::string text(T value) {
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}

void require_finite(double value, const char* name) {
  if (!std::isfinite(value)) {
    raise(ErrorKind::value, std::string(name) + " is not finite", text(value), "Use a finite number.");
  }
}

void require_positive(double value, const char* name) {
  require_finite(value, name);
  if (value <= 0.0) {
    raise(ErrorKind::value, std::string(name) + " is not positive", text(value), "Use a number above 0.");
  }
}

void require_step(double step, const char* name) {
  if (!(std::fabs(step) <= static_cast<double>(kMaxSteps))) {
    raise(ErrorKind::value, std::string(name) + " is out of range", text(step), "Steps go up to 2**53.");
  }
}

// A number as a sum of two doubles: twice the digits.
struct Wide {
  double high;
  double low;
};

Wide normalized(double high, double low) {
  const double sum = high + low;
  return {sum, low - (sum - high)};
}

Wide add(Wide a, Wide b) {
  const double sum = a.high + b.high;
  const double part = sum - a.high;
  const double lost = (a.high - (sum - part)) + (b.high - part);
  return normalized(sum, lost + a.low + b.low);
}

Wide multiply(Wide a, Wide b) {
  const double product = a.high * b.high;
  const double lost = std::fma(a.high, b.high, -product);
  return normalized(product, lost + (a.high * b.low + a.low * b.high));
}

Wide divide(Wide a, Wide b) {
  const double quotient = a.high / b.high;
  const double rest = std::fma(-quotient, b.high, a.high) + (a.low - quotient * b.low);
  return normalized(quotient, rest / b.high);
}

// log2(x) with about 100 bits, so that n * log2(gamma) is exact enough for any number of steps.
Wide wide_log2(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0x1.6a09e667f3bcdp-1) {
    m *= 2.0;
    exponent -= 1;
  }
  const Wide s = divide({m - 1.0, 0.0}, add({m, 0.0}, {1.0, 0.0}));
  const Wide square = multiply(s, s);
  Wide series = {0.0, 0.0};
  for (int k = 20; k >= 0; --k) {
    series = add(multiply(series, square), divide({1.0, 0.0}, {2.0 * k + 1.0, 0.0}));
  }
  const Wide two_over_ln2 = {0x1.71547652b82fep+1, 0x1.777d0ffda0d24p-55};
  return add({static_cast<double>(exponent), 0.0}, multiply(two_over_ln2, multiply(s, series)));
}

}  // namespace

Instruction& ProgramBuilder::emit(Op op) {
  if (here() == kMaxInstructions) {
    raise(ErrorKind::value, "The schedule has too many pieces", text(here()) + " instructions",
          "Use fewer pieces, or one table.");
  }
  program_.code_.emplace_back();
  program_.code_.back().op = op;
  return program_.code_.back();
}

Instruction& ProgramBuilder::emit_shape(Op op) {
  if (value_count_ == kValueDepth) {
    raise(ErrorKind::value, "The schedule nests sums and products too deeply", text(value_count_ + 1) + " open values",
          "Put the deepest operand first.");
  }
  Instruction& shape = emit(op);
  ++value_count_;
  return shape;
}

void ProgramBuilder::constant(double value) {
  require_finite(value, "value");
  emit_shape(Op::constant).start = value;
}

void ProgramBuilder::emit_ramp(Op op, const Ramp& ramp, double power) {
  require_finite(ramp.start, "start");
  require_finite(ramp.end, "end");
  require_step(ramp.origin, "origin");
  require_step(ramp.finish, "finish");
  if (ramp.finish <= ramp.origin) {
    raise(ErrorKind::value, "finish is not after origin", text(ramp.origin) + " to " + text(ramp.finish),
          "Give the ramp a length above 0.");
  }
  Instruction& shape = emit_shape(op);
  shape.start = ramp.start;
  shape.end = ramp.end;
  shape.origin = ramp.origin;
  shape.finish = ramp.finish;
  shape.power = power;
}

void ProgramBuilder::linear(const Ramp& ramp) { emit_ramp(Op::linear, ramp, 1.0); }

void ProgramBuilder::cosine(const Ramp& ramp) { emit_ramp(Op::cosine, ramp, 1.0); }

void ProgramBuilder::polynomial(const Ramp& ramp, double power) {
  require_positive(power, "power");
  emit_ramp(Op::polynomial, ramp, power);
}

void ProgramBuilder::exponential(const Decay& decay) {
  require_finite(decay.start, "start");
  require_positive(decay.gamma, "gamma");
  if (decay.period < 1) {
    raise(ErrorKind::value, "period is not positive", text(decay.period), "Use at least 1 step.");
  }
  const Wide rate = wide_log2(decay.gamma);
  Instruction& shape = emit_shape(Op::exponential);
  shape.start = decay.start;
  shape.period = decay.period;
  shape.rate_hi = rate.high;
  shape.rate_lo = rate.low;
}

int32_t ProgramBuilder::store_bounds(const std::vector<int64_t>& bounds) {
  int64_t last = 0;
  for (const int64_t bound : bounds) {
    if (bound <= last || bound > kMaxSteps) {
      raise(ErrorKind::value, "bounds do not increase from 1 to at most 2**53", text(bound) + " after " + text(last),
            "Sort them and leave out repeated ones.");
    }
    last = bound;
  }
  const size_t first = program_.bounds_.size();
  if (first + bounds.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    raise(ErrorKind::value, "The schedule has too many bounds", text(first + bounds.size()), "Use a shorter table.");
  }
  program_.bounds_.insert(program_.bounds_.end(), bounds.begin(), bounds.end());
  return static_cast<int32_t>(first);
}

void ProgramBuilder::table(const std::vector<int64_t>& bounds, const std::vector<double>& values) {
  if (values.size() != bounds.size() + 1) {
    raise(ErrorKind::value, "values do not fit the bounds", text(values.size()) + " for " + text(bounds.size()),
          "Give one value more than bounds.");
  }
  for (const double value : values) require_finite(value, "value");
  const int32_t first_bound = store_bounds(bounds);
  Instruction& shape = emit_shape(Op::table);
  shape.bounds = first_bound;
  shape.count = static_cast<int32_t>(bounds.size());
  shape.values = static_cast<int32_t>(program_.values_.size());
  program_.values_.insert(program_.values_.end(), values.begin(), values.end());
}

void ProgramBuilder::combine(Op op) {
  const int32_t available = value_count_ - (scopes_.empty() ? 0 : scopes_.back().value_count);
  if (available < 2) {
    raise(ErrorKind::runtime, "An operator needs two values", text(available), "Emit both operands before it.");
  }
  emit(op);
  --value_count_;
}

void ProgramBuilder::multiply() { combine(Op::multiply); }

void ProgramBuilder::add() { combine(Op::add); }

void ProgramBuilder::open(Op op, int32_t row, int32_t rows_end) {
  if (scopes_.size() == kTimeDepth) {
    raise(ErrorKind::value, "The schedule nests sequences and shifts too deeply", text(scopes_.size() + 1),
          "Join the pieces in one sequence.");
  }
  scopes_.push_back({op, value_count_, row, rows_end, {}});
}

void ProgramBuilder::begin_sequence(const std::vector<int64_t>& bounds) {
  if (bounds.size() >= static_cast<size_t>(kMaxInstructions)) {
    raise(ErrorKind::value, "The schedule has too many pieces", text(bounds.size() + 1), "Use one table.");
  }
  const int32_t first_bound = store_bounds(bounds);
  Instruction& sequence = emit(Op::sequence);
  sequence.bounds = first_bound;
  sequence.count = static_cast<int32_t>(bounds.size());
  const int32_t row = here();
  for (size_t i = 0; i <= bounds.size(); ++i) emit(Op::piece);
  open(Op::sequence, row, here());
  program_.code_[row].target = here();
}

void ProgramBuilder::close(Op op) {
  if (scopes_.empty() || scopes_.back().op != op) {
    raise(ErrorKind::runtime, "Nothing of that kind is open", text(scopes_.size()) + " scopes", "Begin it first.");
  }
  Scope& scope = scopes_.back();
  if (value_count_ != scope.value_count + 1) {
    raise(ErrorKind::runtime, "A piece or shift must hold one value", text(value_count_ - scope.value_count),
          "Emit one schedule in it.");
  }
  scope.exits.push_back(here());
  emit(Op::leave);
  if (++scope.row < scope.rows_end) {
    program_.code_[scope.row].target = here();
    value_count_ = scope.value_count;
    return;
  }
  for (const int32_t exit : scope.exits) program_.code_[exit].target = here();
  scopes_.pop_back();
}

void ProgramBuilder::end_piece() { close(Op::sequence); }

void ProgramBuilder::begin_shift(int64_t offset) {
  if (offset < -kMaxSteps || offset > kMaxSteps) {
    raise(ErrorKind::value, "offset is out of range", text(offset), "Steps go up to 2**53.");
  }
  open(Op::shift, here(), here() + 1);
  emit(Op::shift).offset = offset;
}

void ProgramBuilder::end_shift() { close(Op::shift); }

Program ProgramBuilder::build() const {
  if (!scopes_.empty() || value_count_ != 1) {
    raise(ErrorKind::runtime, "The program is not complete",
          text(value_count_) + " values, " + text(scopes_.size()) + " open scopes",
          "Leave exactly one value and close what was begun.");
  }
  return program_;
}

}  // namespace schedule
}  // namespace fastlr
