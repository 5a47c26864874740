// The shapes of ProgramBuilder: each checks its numbers and leaves one value.
#include <cmath>
#include <vector>

#include "schedule/math.h"
#include "schedule/program.h"
#include "schedule/require.h"
#include "schedule/wide.h"

namespace fastlr {
namespace schedule {

void ProgramBuilder::constant(double value) {
  require_finite(value, "value");
  emit_shape(Op::constant).start = value;
}

Instruction& ProgramBuilder::emit_ramp(Op op, const Ramp& ramp) {
  require_finite(ramp.start, "start");
  require_finite(ramp.end, "end");
  require_order(ramp.origin, ramp.finish);
  Instruction& shape = emit_shape(op);
  shape.start = ramp.start;
  shape.end = ramp.end;
  shape.origin = ramp.origin;
  shape.finish = ramp.finish;
  shape.length = ramp.finish - ramp.origin;
  return shape;
}

void ProgramBuilder::linear(const Ramp& ramp) { emit_ramp(Op::linear, ramp); }

void ProgramBuilder::line(const Ramp& ramp) { emit_ramp(Op::line, ramp); }

void ProgramBuilder::cosine(const Ramp& ramp, double warp) {
  require_positive(warp, "warp");
  emit_ramp(Op::cosine, ramp).warp = warp;
}

void ProgramBuilder::polynomial(const Ramp& ramp, double power, double warp) {
  require_positive(power, "power");
  require_positive(warp, "warp");
  if (warp == 1.0 && power == 1.0) return linear(ramp);
  const bool square = warp == 1.0 && power == 2.0;
  Instruction& shape = emit_ramp(square ? Op::parabola : Op::polynomial, ramp);
  shape.power = power;
  shape.warp = warp;
}

void ProgramBuilder::power(const Ramp& ramp, double power) {
  require_positive(power, "power");
  emit_ramp(Op::power, ramp).power = power;
}

void ProgramBuilder::hyperbolic(const Ramp& ramp, double lower, double upper) {
  require_finite(lower, "lower");
  require_finite(upper, "upper");
  const double twice_log2_e = 0x1.71547652b82fep+1;
  Instruction& shape = emit_ramp(Op::tanh, ramp);
  shape.lower = twice_log2_e * lower;
  shape.upper = twice_log2_e * upper;
}

void ProgramBuilder::geometric(const Ramp& ramp) {
  if (ramp.start == 0.0 || ramp.end == 0.0 || (ramp.start > 0.0) != (ramp.end > 0.0)) {
    raise(ErrorKind::value, "start and end have no ratio above 0", text(ramp.start) + " and " + text(ramp.end),
          "Use two numbers of the same sign, none 0.");
  }
  const Wide low = wide_log2(std::fabs(ramp.start));
  const Wide rate = add(wide_log2(std::fabs(ramp.end)), {-low.high, -low.low});
  Instruction& shape = emit_ramp(Op::geometric, ramp);
  shape.rate_hi = rate.high;
  shape.rate_lo = rate.low;
}

void ProgramBuilder::logarithmic(const Ramp& ramp) {
  Instruction& shape = emit_ramp(Op::logarithmic, ramp);
  // By the evaluator's own function, so that the weight at the end is exactly 1.
  shape.rate_hi = FASTLR_ARCH::schedule::log2(1.0 + shape.length).high;
}

void ProgramBuilder::exponential(const Decay& decay, bool staircase) {
  require_finite(decay.start, "start");
  require_positive(decay.gamma, "gamma");
  require_positive(decay.period, "period");
  if (staircase) require_whole(decay.period, "period");
  Wide rate = wide_log2(decay.gamma);
  if (!staircase) rate = divide(rate, {decay.period, 0.0});
  const bool stairs = staircase && decay.period > 1.0;
  Instruction& shape = emit_shape(stairs ? Op::staircase : Op::exponential);
  shape.start = decay.start;
  shape.period = stairs ? static_cast<int64_t>(decay.period) : 1;
  shape.rate_hi = rate.high;
  shape.rate_lo = rate.low;
}

void ProgramBuilder::inverse_sqrt(double start, double timescale, double offset) {
  require_finite(start, "start");
  require_positive(timescale, "timescale");
  require_positive(offset, "offset");
  Instruction& shape = emit_shape(Op::inverse_sqrt);
  shape.start = start;
  shape.origin = -offset;
  shape.finish = timescale;
}

void ProgramBuilder::inverse_time(double start, double rate) {
  require_finite(start, "start");
  if (rate != 0.0) require_positive(rate, "rate");
  Instruction& shape = emit_shape(Op::inverse_time);
  shape.start = start;
  shape.power = rate;
}

void ProgramBuilder::table(const std::vector<int64_t>& bounds, const std::vector<double>& values) {
  if (values.size() != bounds.size() + 1) {
    raise(ErrorKind::value, "values do not fit the bounds", text(values.size()) + " for " + text(bounds.size()),
          "Give one value more than bounds.");
  }
  for (const double value : values) require_finite(value, "value");
  const int32_t first_bound = store_bounds(bounds);
  const int32_t first_value = store_values(values);
  Instruction& shape = emit_shape(Op::table);
  shape.bounds = first_bound;
  shape.count = static_cast<int32_t>(bounds.size());
  shape.values = first_value;
}

void ProgramBuilder::samples(const std::vector<double>& values) {
  if (values.empty() || values.size() > static_cast<size_t>(kMaxSamples)) {
    raise(ErrorKind::value, "A table has no value or too many", text(values.size()), "Use 1 to 2**30 values.");
  }
  for (const double value : values) require_finite(value, "value");
  const int32_t first = store_values(values);
  Instruction& shape = emit_shape(Op::samples);
  shape.values = first;
  shape.count = static_cast<int32_t>(values.size());
}

}  // namespace schedule
}  // namespace fastlr
