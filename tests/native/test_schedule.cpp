// Schedule programs against a recursive oracle over long double libm, in every instruction set of this machine.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "check_native.h"
#include "cpu/dispatch.h"
#include "schedule/evaluate.h"
#include "schedule/program.h"
#include "schedule_oracle.h"

namespace {

using fastlr::schedule::Program;
namespace arithmetic = fastlr::FASTLR_ARCH::schedule;

std::vector<int64_t> interesting_steps() {
  std::vector<int64_t> steps = {0, 1, 2, 3, 4, 255, 256, 257, 258, (1 << 24) + 1, int64_t{1} << 31, kMaxSteps - 1};
  for (const int64_t step : {kMaxSteps, kMaxSteps + 1, std::numeric_limits<int64_t>::max()}) steps.push_back(step);
  const int64_t longest[] = {12, 300, 1100000, kMaxSteps};
  for (int i = 0; i < 24; ++i) steps.push_back(random_between(0, longest[i % 4]));
  return steps;
}

bool same_bits(double a, double b) { return arithmetic::bits_of(a) == arithmetic::bits_of(b); }

// In every instruction set: one value at a time, all of them as a block, and as float.
void check_tables(const Program& program, const fastlr::StepSpan& span, const std::vector<double>& want) {
  std::vector<double> values(want.size());
  std::vector<float> singles(want.size());
  for (const fastlr::Kernels* table : fastlr::available_kernels()) {
    CHECK(table->evaluate(program.view(), span, values.data()) == 0);
    CHECK(table->evaluate_single(program.view(), span, singles.data()) == 0);
    for (size_t i = 0; i < want.size(); ++i) {
      const int64_t t = span.array != nullptr ? span.array[i] : span.first + static_cast<int64_t>(i) * span.stride;
      CHECK(same_bits(values[i], want[i]));
      CHECK(singles[i] == static_cast<float>(want[i]));
      if (i % 16 == 0) CHECK(same_bits(table->evaluate_one(program.view(), t), want[i]));
    }
  }
}

std::vector<double> one_by_one(const Program& program, const std::vector<int64_t>& steps) {
  std::vector<double> values;
  for (const int64_t step : steps) values.push_back(arithmetic::evaluate(program.view(), step));
  return values;
}

void test_random_programs() {
  for (int round = 0; round < 3000; ++round) {
    const std::unique_ptr<Node> node = random_node(static_cast<int>(random_between(0, 4)));
    ProgramBuilder builder;
    emit(builder, *node);
    const Program program = builder.build();
    std::vector<int64_t> steps = interesting_steps();
    const std::vector<double> values = one_by_one(program, steps);
    for (size_t i = 0; i < steps.size(); ++i) {
      const Expected want = expected(*node, steps[i]);
      CHECK(std::fabs(values[i] - want.value) <= 1e-13L * want.scale);
    }
    check_tables(program, {steps.data(), 0, 1, static_cast<int64_t>(steps.size())}, values);
    std::sort(steps.begin(), steps.end());
    check_tables(program, {steps.data(), 0, 1, static_cast<int64_t>(steps.size())}, one_by_one(program, steps));
  }
}

// Blocks end at 256 lanes: sizes on both sides, up and down, over the borders of pieces and cycles.
void test_blocks() {
  const int64_t sizes[] = {0, 1, 31, 255, 256, 257, 1000};
  const int64_t strides[] = {1, 3, 257, 1048583, 0};
  for (int round = 0; round < 300; ++round) {
    const std::unique_ptr<Node> node = random_node(static_cast<int>(random_between(1, 4)));
    ProgramBuilder builder;
    emit(builder, *node);
    const Program program = builder.build();
    const int64_t size = sizes[random_between(0, 6)];
    const int64_t stride = strides[random_between(0, 4)];
    const int64_t first = random_between(0, 1000);
    std::vector<int64_t> steps;
    for (int64_t i = 0; i < size; ++i) steps.push_back(first + i * stride);
    const std::vector<double> values = one_by_one(program, steps);
    check_tables(program, {nullptr, first, stride, size}, values);
    const int64_t last = size > 0 ? steps.back() : 0;
    check_tables(program, {nullptr, last, -stride, size}, {values.rbegin(), values.rend()});
    std::shuffle(steps.begin(), steps.end(), generator);
    check_tables(program, {steps.data(), 0, 1, size}, one_by_one(program, steps));
  }
}

void test_missing_values() {
  ProgramBuilder builder;
  builder.constant(1.0);
  builder.until(299);
  builder.constant(2.0);
  builder.combine(Op::maximum);
  const Program program = builder.build();
  std::vector<double> values(1000);
  for (const fastlr::Kernels* table : fastlr::available_kernels()) {
    CHECK(table->evaluate(program.view(), {nullptr, 0, 1, 1000}, values.data()) == 700);
    CHECK(values[299] == 2.0 && std::isnan(values[300]));
    CHECK(std::isnan(table->evaluate_one(program.view(), 300)));
  }
  ProgramBuilder product;  // 0 times what has grown to infinity
  product.exponential({1.0, 4.0, 1.0}, false);
  product.constant(0.0);
  product.combine(Op::multiply);
  const Program endless = product.build();
  CHECK(fastlr::kernels().evaluate(endless.view(), {nullptr, 0, 1, 1000}, values.data()) == 1000 - 512);
}

void test_elementary_functions() {
  std::uniform_real_distribution<double> half(0.0, 0.5), exponent(-1000.0, 1000.0);
  for (int i = 0; i < 20000; ++i) {
    const double v = std::ldexp(half(generator), -static_cast<int>(random_between(0, 60)));
    const long double sine = std::sin(kPi / 2.0L * v);
    CHECK(std::fabs(arithmetic::sin_squared(v) - sine * sine) <= 1e-15L * sine * sine);

    const double y = exponent(generator);
    const double low = half(generator) * 1e-13;
    const long double power = std::exp2(static_cast<long double>(y) + low);
    CHECK(std::fabs(arithmetic::exp2(y, low) - power) <= 2e-16L * power);

    const double small = std::ldexp(half(generator), -static_cast<int>(random_between(0, 50)));
    const double exponent_of = 0.05 + std::fabs(random_value()) * 4.0;
    const long double complement = -std::expm1(exponent_of * std::log1p(-static_cast<long double>(small)));
    CHECK(std::fabs(arithmetic::pow_complement(small, exponent_of) - complement) <= 3e-15L * complement);

    const double x = std::ldexp(0.5 + half(generator), static_cast<int>(random_between(-1000, 1000)));
    const arithmetic::Log2 log = arithmetic::log2(x);
    const long double want = std::log2(static_cast<long double>(x));
    CHECK(std::fabs(static_cast<long double>(log.high) + log.low - want) <= 5e-16L * std::fmin(std::fabs(want), 1.0L));
  }
}

// Relative to the value itself: an exponent rounded to one double would lose up to 1e-13 here.
void test_powers_keep_their_digits() {
  for (const double gamma : {1e-300, 0.1, 0.75, 0.99999, 0.999999999, 1.0001, 3.0, 1e300}) {
    const double longest = std::fmin(600.0 / std::fabs(std::log(gamma)), 1e15);
    ProgramBuilder builder;
    builder.exponential({1.0, gamma, 1.0}, false);
    const Program program = builder.build();
    for (int i = 0; i < 1000; ++i) {
      const int64_t t = random_between(0, static_cast<int64_t>(longest));
      const long double want = std::pow(static_cast<long double>(gamma), static_cast<long double>(t));
      CHECK(std::fabs(arithmetic::evaluate(program.view(), t) - want) <= 3e-16L * want);
    }
  }
}

void test_extremes_of_exp2() {
  const double infinity = std::numeric_limits<double>::infinity();
  for (int n = -1074; n <= 1023; ++n) CHECK(arithmetic::exp2(n, 0.0) == std::ldexp(1.0, n));
  for (const double high : {1024.0, 1e4, 1e300, infinity}) CHECK(arithmetic::exp2(high, 0.0) == infinity);
  for (const double high : {-1076.0, -1e4, -1e300, -infinity}) CHECK(arithmetic::exp2(high, 0.0) == 0.0);
  // The sum's second part may be NaN where the first is infinite.
  CHECK(arithmetic::exp2(-infinity, std::numeric_limits<double>::quiet_NaN()) == 0.0);
  CHECK(arithmetic::pow(0.5, 1e308) == 0.0);
  CHECK(arithmetic::pow(0.0, 0.5) == 0.0);
  CHECK(arithmetic::pow(1.0, 1e308) == 1.0);
}

template <class Build>
void check_refused(Build build) {
  bool refused = false;
  try {
    ProgramBuilder builder;
    build(builder);
    builder.build();
  } catch (const fastlr::Error&) {
    refused = true;
  }
  CHECK(refused);
}

void test_refusals() {
  const double infinity = std::numeric_limits<double>::infinity();
  check_refused([](ProgramBuilder&) {});
  check_refused([=](ProgramBuilder& b) { b.constant(infinity); });
  check_refused([](ProgramBuilder& b) { b.linear({1.0, 0.0, 3.0, 3.0}); });
  check_refused([](ProgramBuilder& b) { b.linear({1.0, 0.0, 0.0, 2.0 * static_cast<double>(kMaxSteps)}); });
  check_refused([](ProgramBuilder& b) { b.polynomial({1.0, 0.0, 0.0, 3.0}, 0.0, 1.0); });
  check_refused([](ProgramBuilder& b) { b.exponential({1.0, 0.0, 1.0}, false); });
  check_refused([](ProgramBuilder& b) { b.exponential({1.0, 0.5, 0.0}, false); });
  check_refused([](ProgramBuilder& b) { b.table({1, 2}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.table({2, 2}, {1.0, 2.0, 3.0}); });
  check_refused([](ProgramBuilder& b) { b.table({0}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.table({kMaxSteps + 1}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.begin_shift(kMaxSteps + 1); });
  check_refused([](ProgramBuilder& b) { b.end_piece(); });
  check_refused([](ProgramBuilder& b) { b.combine(Op::add); });
  check_refused([](ProgramBuilder& b) { b.exponential({1.0, 0.5, 1.5}, true); });
  check_refused([](ProgramBuilder& b) { b.geometric({1.0, -1.0, 0.0, 3.0}); });
  check_refused([](ProgramBuilder& b) { b.geometric({0.0, 0.0, 0.0, 3.0}); });
  check_refused([](ProgramBuilder& b) { b.inverse_sqrt(1.0, 1.0, 0.0); });
  check_refused([](ProgramBuilder& b) { b.inverse_time(1.0, -1.0); });
  check_refused([](ProgramBuilder& b) { b.samples({}); });
  check_refused([](ProgramBuilder& b) { b.begin_floor(3, 4); });
  check_refused([](ProgramBuilder& b) { b.begin_repeat(0, 1); });
  check_refused([](ProgramBuilder& b) { b.until(1); });
  check_refused([](ProgramBuilder& b) { b.raise_to(2.0); });
}

void test_limits() {
  ProgramBuilder values, times;
  for (int i = 0; i < fastlr::schedule::kValueDepth; ++i) values.constant(1.0);
  check_refused([&](ProgramBuilder& b) { (b = values).constant(1.0); });
  for (int i = 1; i < fastlr::schedule::kValueDepth; ++i) values.combine(Op::add);
  CHECK(arithmetic::evaluate(values.build().view(), 0) == fastlr::schedule::kValueDepth);

  for (int i = 0; i < fastlr::schedule::kTimeDepth; ++i) times.begin_shift(-1);
  check_refused([&](ProgramBuilder& b) { (b = times).begin_shift(1); });
  times.linear({0.0, 100.0, 0.0, 100.0});
  for (int i = 0; i < fastlr::schedule::kTimeDepth; ++i) times.end_scope(Op::shift);
  CHECK(arithmetic::evaluate(times.build().view(), 2) == 2.0 + fastlr::schedule::kTimeDepth);

  check_refused([](ProgramBuilder& b) {
    b.constant(1.0);
    for (int i = 0; i < fastlr::schedule::kMaxInstructions; ++i) {
      b.constant(1.0);
      b.combine(Op::add);
    }
  });
  // An operator may not reach out of its piece, and a piece holds exactly one value.
  check_refused([](ProgramBuilder& b) {
    b.constant(1.0);
    b.begin_shift(1);
    b.constant(1.0);
    b.combine(Op::add);
  });
  check_refused([](ProgramBuilder& b) {
    b.begin_sequence({1});
    b.end_piece();
  });
}

}  // namespace

int main() {
  test_elementary_functions();
  test_powers_keep_their_digits();
  test_extremes_of_exp2();
  test_random_programs();
  test_blocks();
  test_missing_values();
  test_refusals();
  test_limits();
  return 0;
}
