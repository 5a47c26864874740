// Schedule programs against a recursive oracle over long double libm, in every instruction set of this machine.
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

void test_random_programs() {
  const std::vector<const fastlr::Kernels*> tables = fastlr::available_kernels();
  for (int round = 0; round < 3000; ++round) {
    const std::unique_ptr<Node> node = random_node(static_cast<int>(random_between(0, 4)));
    ProgramBuilder builder;
    emit(builder, *node);
    const Program program = builder.build();
    const std::vector<int64_t> steps = interesting_steps();
    std::vector<double> values(steps.size());
    tables[0]->evaluate(program.view(), steps.data(), static_cast<int64_t>(steps.size()), values.data());
    for (size_t i = 0; i < steps.size(); ++i) {
      const Expected want = expected(*node, steps[i]);
      CHECK(std::fabs(values[i] - want.value) <= 1e-13L * want.scale);
      double one = 0.0;
      for (const fastlr::Kernels* table : tables) {
        table->evaluate(program.view(), &steps[i], 1, &one);
        CHECK(arithmetic::bits_of(one) == arithmetic::bits_of(values[i]));
      }
    }
  }
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
    builder.exponential({1.0, gamma, 1});
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
  check_refused([](ProgramBuilder& b) { b.polynomial({1.0, 0.0, 0.0, 3.0}, 0.0); });
  check_refused([](ProgramBuilder& b) { b.exponential({1.0, 0.0, 1}); });
  check_refused([](ProgramBuilder& b) { b.exponential({1.0, 0.5, 0}); });
  check_refused([](ProgramBuilder& b) { b.table({1, 2}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.table({2, 2}, {1.0, 2.0, 3.0}); });
  check_refused([](ProgramBuilder& b) { b.table({0}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.table({kMaxSteps + 1}, {1.0, 2.0}); });
  check_refused([](ProgramBuilder& b) { b.begin_shift(kMaxSteps + 1); });
  check_refused([](ProgramBuilder& b) { b.end_piece(); });
  check_refused([](ProgramBuilder& b) { b.add(); });
}

void test_limits() {
  ProgramBuilder values, times;
  for (int i = 0; i < fastlr::schedule::kValueDepth; ++i) values.constant(1.0);
  check_refused([&](ProgramBuilder& b) { (b = values).constant(1.0); });
  for (int i = 1; i < fastlr::schedule::kValueDepth; ++i) values.add();
  CHECK(arithmetic::evaluate(values.build().view(), 0) == fastlr::schedule::kValueDepth);

  for (int i = 0; i < fastlr::schedule::kTimeDepth; ++i) times.begin_shift(-1);
  check_refused([&](ProgramBuilder& b) { (b = times).begin_shift(1); });
  times.linear({0.0, 100.0, 0.0, 100.0});
  for (int i = 0; i < fastlr::schedule::kTimeDepth; ++i) times.end_shift();
  CHECK(arithmetic::evaluate(times.build().view(), 2) == 2.0 + fastlr::schedule::kTimeDepth);

  check_refused([](ProgramBuilder& b) {
    b.constant(1.0);
    for (int i = 0; i < fastlr::schedule::kMaxInstructions; ++i) {
      b.constant(1.0);
      b.add();
    }
  });
  // An operator may not reach out of its piece, and a piece holds exactly one value.
  check_refused([](ProgramBuilder& b) {
    b.constant(1.0);
    b.begin_shift(1);
    b.constant(1.0);
    b.add();
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
  test_refusals();
  test_limits();
  return 0;
}
