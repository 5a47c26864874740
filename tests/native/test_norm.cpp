// Sums of squares: the order, the same bits in every instruction set and on any number of threads, and the value.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check_native.h"
#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "each_rule.h"
#include "elements.h"
#include "norm_order.h"

namespace {

using namespace fastlr;

using namespace norm_test;

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Sixteen additions in a lane and ten by halves, all of them of what is not negative.
void check_value(double sum, const std::vector<double>& values) {
  long double exact = 0.0L;
  for (const double value : values) exact += static_cast<long double>(value) * value;
  CHECK(std::fabs(sum - exact) <= 27 * 0x1p-53L * exact);
}

void chunks() {
  for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
    for (const int64_t size : {0, 1, 2, 3, 31, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2049, 16383, 16384}) {
      for (const int64_t offset : {0, 1, 3}) {
        const auto type = static_cast<DType>(dtype);
        const std::vector<char> all = random_elements(type, size + offset);
        const std::vector<char> grad(all.begin() + offset * element_size(type), all.end());
        const std::vector<double> values = values_of(grad, type);
        const double want = squares_in_lanes(values, 0, values.size());
        check_value(want, values);
        for (const Kernels* table : available_kernels()) {
          CHECK(same_bits(table->sum_squares(type, all.data() + offset * element_size(type), size), want));
        }
      }
    }
  }
}

// In a long sum the roundings of single squares drown, so here are two elements of one lane among zeros.
void squares_are_not_rounded() {
  std::vector<double> grad(1100);
  int differ = 0;
  for (int round = 0; round < 100; ++round) {
    const double a = grad[5] = static_cast<double>(random_bits()) * 0x1p-64;
    const double b = grad[1029] = static_cast<double>(random_bits()) * 0x1p-64;
    differ += a * a + b * b != std::fma(b, b, a * a) ? 1 : 0;
    for (const Kernels* table : available_kernels()) {
      CHECK(same_bits(table->sum_squares(DType::float64, grad.data(), 1100), std::fma(b, b, a * a)));
    }
  }
  CHECK(differ > 10);
}

void sums() {
  for (const std::size_t size : {0, 1, 2, 5, 1000, 1024, 1025, 5000, 100003}) {
    std::vector<double> terms;
    for (std::size_t i = 0; i < size; ++i) terms.push_back(std::exp2(static_cast<double>(random_bits() % 60)) / 3.0);
    const double want = sum_in_lanes(terms);
    for (const Kernels* table : available_kernels()) {
      CHECK(same_bits(table->sum(terms.data(), static_cast<int64_t>(size)), want));
    }
  }
}

// They stay what they are, wherever they stand.
void not_finite() {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  for (const std::size_t at : {0, 700, 1024, 2999}) {
    std::vector<float> grad(3000, 1.0f);
    for (const Kernels* table : available_kernels()) {
      grad[at] = static_cast<float>(-infinity);
      CHECK(table->sum_squares(DType::float32, grad.data(), 3000) == infinity);
      grad[at] = static_cast<float>(nan);
      CHECK(std::isnan(table->sum_squares(DType::float32, grad.data(), 3000)));
    }
  }
  // Squares that float32 does not hold.
  const std::vector<float> large(20, 1e30f), small(20, 1e-30f);
  const double high = 1e30f, low = 1e-30f;
  for (const Kernels* table : available_kernels()) {
    CHECK(std::fabs(table->sum_squares(DType::float32, large.data(), 20) / (20 * high * high) - 1) < 1e-15);
    CHECK(std::fabs(table->sum_squares(DType::float32, small.data(), 20) / (20 * low * low) - 1) < 1e-15);
  }
}

HyperBytes group(bool clipped, bool alone) {
  HyperBytes hyper{};
  hyper.recipe = no_recipe();
  if (clipped) hyper.recipe.max_grad_norm = 1.0;
  hyper.recipe.norm_per_group = alone;
  return hyper;
}

struct Gradient {
  std::vector<char> bytes;
  DType dtype;
  std::size_t group;
};

// Groups with the shared norm, with norms of their own, and with none, one after another.
struct Model {
  const std::vector<HyperBytes> groups = {group(true, false), group(true, true), group(false, false),
                                          group(true, false), group(true, true), group(true, true)};
  std::vector<Gradient> gradients;
  Plan plan{rules().front()};

  explicit Model(const std::vector<int64_t>& sizes) {
    for (std::size_t g = 0; g + 1 < groups.size(); ++g) {  // the last one has no tensors
      for (const int64_t size : sizes) {
        const auto dtype = static_cast<DType>(gradients.size() % kDTypeCount);
        gradients.push_back({random_elements(dtype, size), dtype, g});
      }
    }
    std::size_t next = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      plan.add_group(groups[g], 0);
      for (; next < gradients.size() && gradients[next].group == g; ++next) {
        Gradient& grad = gradients[next];
        const auto size = static_cast<int64_t>(grad.bytes.size()) / element_size(grad.dtype);
        const Extra extra;
        plan.add(grad.dtype, {nullptr, grad.bytes.data(), {}, size, 0, false}, &extra);
      }
    }
  }
  // The chunks' sums of the gradients that `in` is true for.
  template <class In>
  std::vector<double> chunk_sums(In in) const {
    std::vector<double> terms;
    for (const Gradient& grad : gradients) {
      if (!in(grad)) continue;
      for (const double sum : chunks_of(values_of(grad.bytes, grad.dtype))) terms.push_back(sum);
    }
    return terms;
  }
};

void plans(const std::vector<int64_t>& sizes) {
  const Model model(sizes);
  std::vector<double> want{
      sum_in_lanes(model.chunk_sums([](const Gradient& g) { return g.group == 0 || g.group == 3; }))};
  for (std::size_t g = 0; g < model.groups.size(); ++g) {
    const bool alone = g == 1 || g == 4;
    want.push_back(sum_in_lanes(model.chunk_sums([&](const Gradient& grad) { return alone && grad.group == g; })));
  }
  std::vector<double> of_tasks;
  for (const Gradient& grad : model.gradients) {
    const auto own = [&](const Gradient& other) { return &other == &grad && grad.group != 2; };
    of_tasks.push_back(sum_in_lanes(model.chunk_sums(own)));
  }
  for (const int threads : {1, 2, 3, 8}) {
    for (int again = 0; again < 3; ++again) {
      CHECK(squares(model.plan, threads) == want);
      CHECK(squares_of_tasks(model.plan, threads) == of_tasks);
    }
  }
}

void empty_plans() {
  Plan plan(rules().front());
  CHECK(squares(plan, 2) == std::vector<double>{0.0} && squares_of_tasks(plan, 2).empty());
  plan.add_group(group(true, false), 0);
  CHECK(squares(plan, 2) == std::vector<double>(2));
}

}  // namespace

int main() {
  chunks();
  squares_are_not_rounded();
  sums();
  not_finite();
  plans({1, 16385, 0, 31});
  plans({200003, 16384, 5, 3 * 16384, 65537});
  plans(std::vector<int64_t>(1100, 1));
  empty_plans();
  return 0;
}
