#include "schedule/program.h"

#include <algorithm>
#include <string>

#include "schedule/require.h"

namespace fastlr {
namespace schedule {
namespace {

// Whether NaN can come out of the instruction: by itself, or because what it combines may be infinite. Everything else
// stays between finite numbers, or grows to infinity.
bool may_lack_value(const Instruction& instruction) {
  switch (instruction.op) {
    case Op::line:
    case Op::multiply:
    case Op::add:
    case Op::divide:
    case Op::until:
      return true;
    case Op::exponential:
    case Op::staircase:
      return instruction.start == 0.0;
    default:
      return false;
  }
}

// The index of the first element that was added.
template <class T>
int32_t append(std::vector<T>& all, const std::vector<T>& added, const char* name) {
  const size_t first = all.size();
  if (first + added.size() > static_cast<size_t>(kMaxSamples)) {
    raise(ErrorKind::value, std::string("The schedule has too many ") + name, text(first + added.size()),
          "Use a shorter table.");
  }
  all.insert(all.end(), added.begin(), added.end());
  return static_cast<int32_t>(first);
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

int32_t ProgramBuilder::store_bounds(const std::vector<int64_t>& bounds) {
  int64_t last = 0;
  for (const int64_t bound : bounds) {
    if (bound <= last || bound > kMaxSteps) {
      raise(ErrorKind::value, "bounds do not increase from 1 to at most 2**53", text(bound) + " after " + text(last),
            "Sort them and leave out repeated ones.");
    }
    last = bound;
  }
  return append(program_.bounds_, bounds, "bounds");
}

int32_t ProgramBuilder::store_values(const std::vector<double>& values) {
  return append(program_.values_, values, "values");
}

void ProgramBuilder::require_values(int32_t needed) const {
  const int32_t available = value_count_ - (scopes_.empty() ? 0 : scopes_.back().value_count);
  if (available < needed) {
    raise(ErrorKind::runtime, "An operator needs " + text(needed) + " values", text(available),
          "Emit its operands before it.");
  }
}

void ProgramBuilder::combine(Op op) {
  require_values(2);
  emit(op);
  --value_count_;
}

void ProgramBuilder::raise_to(double power) {
  require_positive(power, "power");
  require_values(1);
  emit(Op::raise_to).power = power;
}

void ProgramBuilder::until(int64_t last) {
  require_count(last, 0, "last");
  require_values(1);
  emit(Op::until).offset = last;
}

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

Instruction& ProgramBuilder::begin(Op op) {
  open(op, here(), here() + 1);
  return emit(op);
}

void ProgramBuilder::begin_shift(int64_t offset) {
  if (offset < -kMaxSteps || offset > kMaxSteps) {
    raise(ErrorKind::value, "offset is out of range", text(offset), "Steps go up to 2**53.");
  }
  begin(Op::shift).offset = offset;
}

void ProgramBuilder::begin_hold(int64_t last) {
  require_count(last, 0, "last");
  begin(Op::hold).offset = last;
}

void ProgramBuilder::begin_floor(int64_t period, int64_t stride) {
  require_count(period, 1, "period");
  require_count(stride, 1, "stride");
  if (stride > period) {
    raise(ErrorKind::value, "stride is longer than the period", text(stride) + " of " + text(period),
          "Use 1, or the period itself.");
  }
  Instruction& scope = begin(Op::floor);
  scope.period = period;
  scope.offset = stride;
}

void ProgramBuilder::begin_repeat(int64_t period, int64_t cycles) {
  require_count(period, 1, "period");
  require_count(cycles, 0, "cycles");
  Instruction& scope = begin(Op::repeat);
  scope.period = period;
  scope.offset = cycles;
}

Program ProgramBuilder::build() const {
  if (!scopes_.empty() || value_count_ != 1) {
    raise(ErrorKind::runtime, "The program is not complete",
          text(value_count_) + " values, " + text(scopes_.size()) + " open scopes",
          "Leave exactly one value and close what was begun.");
  }
  Program program = program_;
  program.partial_ = std::any_of(program.code_.begin(), program.code_.end(), may_lack_value);
  return program;
}

}  // namespace schedule
}  // namespace fastlr
