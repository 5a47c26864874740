// The same values as evaluate.h, for many steps at once: each instruction runs over a block of steps before the next
// one, in loops that vectorise. The arithmetic is that of shapes.h, so the bits are those of single values.
#pragma once

#include <cstdint>

#include "arch.h"
#include "schedule/evaluate.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace schedule {

constexpr int32_t kLanes = 256;

class Block {
 public:
  explicit Block(const ProgramView& program) : program_(program) {
    for (int32_t i = 0; i < kValueDepth; ++i) slots_[i] = values_[i];
  }

  // Where the steps of the next run() are written, at most kLanes.
  int64_t* times() { return times_[0]; }

  // Values of the steps in times(). `rising`: none of them is smaller than the one before.
  void run(int32_t count, bool rising, double* out) {
    rising_ = rising;
    slots_[0] = out;
    interpret(0, {0, 0, count, 0});
  }

 private:
  // What a stretch of code runs on: the lanes [begin, end), their times and the next free value slot.
  struct Frame {
    int32_t depth;
    int32_t begin;
    int32_t end;
    int32_t top;
  };

  // Runs until the scope's end; returns the place after it.
  int32_t interpret(int32_t at, Frame frame) {
    while (at < program_.size) {
      const Instruction& now = program_.code[at++];
      switch (now.op) {
        case Op::leave:
          return now.target;
        case Op::multiply:
        case Op::add:
        case Op::divide:
        case Op::minimum:
        case Op::maximum:
          --frame.top;
          combine(now.op, frame);
          break;
        case Op::raise_to:
        case Op::until:
          alter(now, frame);
          break;
        case Op::shift:
        case Op::hold:
          retime(now, frame);
          at = interpret(at, inside(frame, frame.begin, frame.end));
          ++frame.top;
          break;
        case Op::floor:
        case Op::repeat:
        case Op::sequence:
          at = split(now, at, frame);
          ++frame.top;
          break;
        default:
          shape(now, frame);
          ++frame.top;
      }
    }
    return at;
  }

  static Frame inside(const Frame& frame, int32_t begin, int32_t end) {
    return {frame.depth + 1, begin, end, frame.top};
  }

  // Steps [first, last] that one run of lanes shares, what is taken off its times, and the code that it runs.
  struct Stretch {
    int64_t first;
    int64_t last;
    int64_t shift;
    int32_t at;
  };

  Stretch stretch_at(const Instruction& scope, int32_t at, int64_t t) const {
    if (scope.op == Op::sequence) {
      const int64_t* bounds = program_.bounds + scope.bounds;
      const int32_t piece = bounds_reached(bounds, scope.count, t);
      const int64_t first = piece > 0 ? bounds[piece - 1] : 0;
      return {first, piece < scope.count ? bounds[piece] - 1 : INT64_MAX, first, program_.code[at + piece].target};
    }
    const bool repeats = scope.op == Op::repeat;
    const int64_t cycle = repeats ? cycle_at(scope, t) : t / scope.period;
    const int64_t first = cycle * scope.period;
    const bool ends = (repeats && cycle == scope.offset - 1) || first > INT64_MAX - scope.period;
    return {first, ends ? INT64_MAX : first + (scope.period - 1), repeats ? first : cycle * scope.offset, at};
  }

  // A scope whose code or time jumps: lane after lane with the same stretch runs at once.
  int32_t split(const Instruction& scope, int32_t at, const Frame& frame) {
    const int64_t* times = times_[frame.depth];
    int64_t* inner = times_[frame.depth + 1];
    const bool flat = scope.op == Op::floor;
    int32_t next = at;
    for (int32_t begin = frame.begin; begin < frame.end;) {
      const Stretch stretch = stretch_at(scope, at, times[begin]);
      const int32_t end = run_end(times, begin, frame.end, stretch.first, stretch.last);
      for (int32_t i = begin; i < end; ++i) inner[i] = flat ? stretch.shift : times[i] - stretch.shift;
      next = interpret(stretch.at, inside(frame, begin, end));
      begin = end;
    }
    return next;
  }

  // The first lane after `begin` whose time is not in [first, last], or `end`.
  int32_t run_end(const int64_t* times, int32_t begin, int32_t end, int64_t first, int64_t last) const {
    if (!rising_) {
      int32_t i = begin + 1;
      while (i < end && first <= times[i] && times[i] <= last) ++i;
      return i;
    }
    if (times[end - 1] <= last) return end;
    int32_t low = begin + 1;
    for (int32_t high = end - 1; low < high;) {
      const int32_t middle = (low + high) / 2;
      if (times[middle] <= last) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  void retime(const Instruction& scope, const Frame& frame) {
    const int64_t* times = times_[frame.depth];
    int64_t* inner = times_[frame.depth + 1];
    const Instruction here = scope;
    for (int32_t i = frame.begin; i < frame.end; ++i) inner[i] = time_inside(here, times[i]);
  }

  void combine(Op op, const Frame& frame) {
    double* __restrict__ a = slots_[frame.top - 1];
    const double* __restrict__ b = slots_[frame.top];
    const auto each = [&](auto operate) {
      for (int32_t i = frame.begin; i < frame.end; ++i) a[i] = operate(a[i], b[i]);
    };
    switch (op) {
      case Op::multiply:
        return each([](double x, double y) { return combined(Op::multiply, x, y); });
      case Op::add:
        return each([](double x, double y) { return combined(Op::add, x, y); });
      case Op::divide:
        return each([](double x, double y) { return combined(Op::divide, x, y); });
      case Op::minimum:
        return each([](double x, double y) { return combined(Op::minimum, x, y); });
      default:
        return each([](double x, double y) { return combined(Op::maximum, x, y); });
    }
  }

  void alter(const Instruction& now, const Frame& frame) {
    double* __restrict__ value = slots_[frame.top - 1];
    const int64_t* times = times_[frame.depth];
    const double power = now.power;
    const int64_t last = now.offset;
    if (now.op == Op::raise_to) {
      for (int32_t i = frame.begin; i < frame.end; ++i) value[i] = raised(value[i], power);
    } else {
      for (int32_t i = frame.begin; i < frame.end; ++i) value[i] = value_until(value[i], times[i], last);
    }
  }

  template <class Function>
  void each(const Instruction& shape, const Frame& frame, Function function) {
    const Instruction here = shape;  // a copy: the compiler sees that the loop does not write to it
    const int64_t* __restrict__ times = times_[frame.depth];
    double* __restrict__ out = slots_[frame.top];
    for (int32_t i = frame.begin; i < frame.end; ++i) out[i] = function(here, times[i]);
  }

  // A shape whose value stays for a stretch of steps.
  template <class Function>
  void stairs(const Instruction& shape, const Frame& frame, Function first_and_last) {
    const int64_t* times = times_[frame.depth];
    double* out = slots_[frame.top];
    for (int32_t begin = frame.begin; begin < frame.end;) {
      int64_t first, last;
      first_and_last(times[begin], first, last);
      const int32_t end = run_end(times, begin, frame.end, first, last);
      const double value = shape_value(program_, shape, times[begin]);
      for (int32_t i = begin; i < end; ++i) out[i] = value;
      begin = end;
    }
  }

#define FASTLR_EACH(...) each(now, frame, [](const Instruction& s, int64_t t) { return __VA_ARGS__; })
  // Flattened: a call left in a loop keeps it from vectorising.
  __attribute__((flatten)) void shape(const Instruction& now, const Frame& frame) {
    switch (now.op) {
      case Op::linear:
        return FASTLR_EACH(linear(s, phase_at(s, t)));
      case Op::cosine:
        return now.warp == 1.0 ? FASTLR_EACH(cosine(s, phase_at(s, t)))
                               : FASTLR_EACH(cosine(s, warped(s, phase_at(s, t))));
      case Op::polynomial:
        return now.warp == 1.0 ? FASTLR_EACH(polynomial(s, phase_at(s, t), false))
                               : FASTLR_EACH(polynomial(s, warped(s, phase_at(s, t)), false));
      case Op::parabola:
        return FASTLR_EACH(parabola(s, phase_at(s, t)));
      case Op::power:
        return FASTLR_EACH(polynomial(s, phase_at(s, t), true));
      case Op::tanh:
        return FASTLR_EACH(tanh(s, phase_at(s, t)));
      case Op::geometric:
        return FASTLR_EACH(geometric(s, phase_at(s, t)));
      case Op::logarithmic:
        return FASTLR_EACH(logarithmic(s, t));
      case Op::line:
        return FASTLR_EACH(line(s, t));
      case Op::exponential:
        return FASTLR_EACH(exponential(s, t));
      case Op::inverse_sqrt:
        return FASTLR_EACH(inverse_sqrt(s, t));
      case Op::inverse_time:
        return FASTLR_EACH(inverse_time(s, t));
      case Op::staircase:
        return stairs(now, frame, [&](int64_t t, int64_t& first, int64_t& last) {
          first = t / now.period * now.period;
          last = first > INT64_MAX - now.period ? INT64_MAX : first + (now.period - 1);
        });
      case Op::table:
        return stairs(now, frame, [&](int64_t t, int64_t& first, int64_t& last) {
          const int64_t* bounds = program_.bounds + now.bounds;
          const int32_t reached = bounds_reached(bounds, now.count, t);
          first = reached > 0 ? bounds[reached - 1] : 0;
          last = reached < now.count ? bounds[reached] - 1 : INT64_MAX;
        });
      case Op::samples: {
        const ProgramView program = program_;
        return each(now, frame, [program](const Instruction& s, int64_t t) { return sample(program, s, t); });
      }
      default:
        return each(now, frame, [](const Instruction& s, int64_t) { return s.start; });
    }
  }
#undef FASTLR_EACH

  const ProgramView program_;
  bool rising_ = false;
  double* slots_[kValueDepth];
  double values_[kValueDepth][kLanes];
  int64_t times_[kTimeDepth + 1][kLanes];
};

}  // namespace schedule
}  // namespace FASTLR_ARCH
}  // namespace fastlr
