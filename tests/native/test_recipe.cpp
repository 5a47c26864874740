// Updates with a recipe on exactly allocated memory: every type of parameter, state and weights, every option, in every
// instruction set; whole, in parts, and on any number of threads. With any argument, only the last.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check_native.h"
#include "cpu/run.h"
#include "recipe_model.h"
#include "rule/recipe.h"
#include "rule_formulas.h"
#include "step/plan.h"

namespace {

using namespace recipe_test;

template <class Rule>
Memory updated(const Kernels& table, const Case& c, const typename Rule::Hyper& hyper, Memory memory) {
  update_recipe_with<Rule>(table, c, hyper, described(c, memory));
  return memory;
}

template <class Rule, class C>
void agrees_with_separate_passes(const Case& c, const typename Rule::Hyper& hyper, const Memory& before,
                                 const Memory& after) {
  CHECK((values_of<C>(c, after) == expected<Rule, C>(c, hyper, before)));
  const bool zeroed = std::all_of(after.grad.begin(), after.grad.end(), [](char byte) { return byte == 0; });
  CHECK(c.recipe.zero_grad_in_step ? zeroed : after.grad == before.grad);
}

template <class Rule>
void check(const Case& c, const typename Rule::Hyper& hyper, int64_t size) {
  const Memory before = random_memory<Rule>(c, size);
  const Memory after = updated<Rule>(*available_kernels().back(), c, hyper, before);
  if (c.dtype == DType::float64) {
    agrees_with_separate_passes<Rule, double>(c, hyper, before, after);
  } else {
    agrees_with_separate_passes<Rule, float>(c, hyper, before, after);
  }
  for (const Kernels* table : available_kernels()) CHECK(updated<Rule>(*table, c, hyper, before) == after);
}

template <class Rule>
void every_combination() {
  const auto hypers = formulas::cases_of(Rule());
  const int64_t sizes[] = {0, 1, 31, 255, 256, 257, 513};
  std::size_t number = 0;
  for (const Case& c : all_cases()) {
    for (const int64_t size : sizes) {
      number += 5;
      check<Rule>(c, hypers[number % hypers.size()], size);
    }
  }
}

template <class Rule>
void long_tensors() {
  const auto hypers = formulas::cases_of(Rule());
  for (const int64_t size : {16383, 16384, 16385, 1048583}) {
    Case c;
    c.dtype = c.state = DType::bfloat16;
    c.factor = 0.5;
    c.recipe.max_grad_value = 1.0;
    c.recipe.ema_decay = 0.9;
    c.recipe.stochastic_rounding = true;
    check<Rule>(c, hypers.back(), size);
    c.dtype = DType::float32;
    check<Rule>(c, hypers.front(), size);
  }
}

// Dense tensors whose memory is in another order: the roundings go by the logical one.
void layouts() {
  using Rule = base::sgd::Rule;
  const int64_t shapes[][3] = {{1, 2, 3}, {2, 3, 700}, {3, 700, 3}, {1, 1000, 1000}, {5, 16, 64}, {2, 513, 1}};
  for (const auto& [matrices, rows, columns] : shapes) {
    Case c;
    c.dtype = c.state = DType::bfloat16;
    c.recipe.stochastic_rounding = true;
    c.recipe.rounding_seed = 9007199254740991.0;
    c.rows = rows;
    c.columns = columns;
    check<Rule>(c, formulas::cases_of(Rule()).back(), matrices * rows * columns);
  }
}

template <class Rule>
Memory updated_in_parts(const Kernels& table, const Case& c, const typename Rule::Hyper& hyper, Memory memory) {
  const RecipeSpan all = described(c, memory);
  const Task task{0, 0, 0, c.dtype, 0, all.span};
  for (int64_t begin = 0; begin < all.span.size;) {
    const int64_t end = std::min(all.span.size, begin + 1 + static_cast<int64_t>(random_bits() % 700));
    RecipeSpan what = all;
    what.span = part(task, &all.extra, begin, end);
    what.begin = begin;
    update_recipe_with<Rule>(table, c, hyper, what);
    begin = end;
  }
  return memory;
}

// A cut anywhere changes nothing.
template <class Rule>
void parts_are_the_whole() {
  const auto cases = all_cases();
  const auto hypers = formulas::cases_of(Rule());
  for (int round = 0; round < 200; ++round) {
    Case c = cases[random_bits() % cases.size()];
    c.rows = round % 2 == 0 ? 1 : 7;
    c.columns = round % 2 == 0 ? 1 : 60;
    const auto& hyper = hypers[random_bits() % hypers.size()];
    const Memory before = random_memory<Rule>(c, 4 * 420);
    for (const Kernels* table : available_kernels()) {
      CHECK(updated_in_parts<Rule>(*table, c, hyper, before) == updated<Rule>(*table, c, hyper, before));
    }
  }
}

// Far into a tensor that is larger than this machine's memory.
void elements_beyond_2_to_the_32() {
  using Rule = base::sgd::Rule;
  Case c;
  c.dtype = c.state = DType::bfloat16;
  c.recipe.stochastic_rounding = true;
  const auto hyper = formulas::cases_of(Rule()).front();
  for (const int64_t begin : {(int64_t{1} << 32) - 100, (int64_t{3} << 33) + 5}) {
    const Memory before = random_memory<Rule>(c, 300);
    std::vector<float> weights = values_of<float>(before.param, c.dtype), grad = values_of<float>(before.grad, c.dtype);
    update_with<Rule>(kernels(), hyper, DType::float32, {weights.data(), grad.data(), {}, 300, 5, false});
    for (const Kernels* table : available_kernels()) {
      Memory memory = before;
      RecipeSpan what = described(c, memory);
      what.begin = begin;
      update_recipe_with<Rule>(*table, c, hyper, what);
      for (int64_t i = 0; i < 300; ++i) {
        const uint32_t random = random_of(key_of(0.0, kCount, kPlace), static_cast<uint64_t>(begin + i));
        CHECK(element(memory.param, c.dtype, i) == rounded_randomly(weights[static_cast<std::size_t>(i)], random));
      }
    }
  }
}

// Tensors with and without a recipe, of several groups, on any number of threads.
template <class Rule>
void any_number_of_threads() {
  const auto cases = all_cases();
  const auto hypers = formulas::cases_of(Rule());
  for (const int threads : {1, 2, 3, 8}) {
    random_bits.seed(5);
    Plan plan(info_of(Rule()));
    std::vector<Memory> memories, alone;
    memories.reserve(40);
    std::vector<double> factors;
    for (int group = 0; group < 10; ++group) {
      Case c = cases[random_bits() % cases.size()];
      const auto& hyper = hypers[random_bits() % hypers.size()];
      plan.add_group(bytes_of<Rule>(hyper, c.recipe), kCount);
      factors.push_back(c.factor);
      for (const int64_t size : {1, 30011, 1000}) {
        memories.push_back(random_memory<Rule>(c, size));
        const RecipeSpan what = described(c, memories.back());
        alone.push_back(updated<Rule>(kernels(), c, hyper, memories.back()));
        plan.add(c.dtype, what.span, &what.extra);
      }
      Case plain;
      plain.updates = c.updates;
      memories.push_back(random_memory<Rule>(plain, 999));
      alone.push_back(updated<Rule>(kernels(), plain, hyper, memories.back()));
      plan.add(plain.dtype, described(plain, memories.back()).span, nullptr);
    }
    CHECK(plan.recipes());
    plan.set_factors(factors);
    run(plan, threads);
    CHECK(memories == alone);
  }
}

void special_gradients() {
  Recipe recipe = no_recipe();
  const float nan = std::nanf("");
  const auto unlimited = base::recipe_scalars<float>(recipe, 2.0);
  recipe.max_grad_value = 0.5;
  const auto limited = base::recipe_scalars<float>(recipe, 1.0);
  const struct {
    float grad, doubled, clamped;
  } table[] = {{0.5f, 1.0f, 0.5f},
               {-0.75f, -1.5f, -0.5f},
               {HUGE_VALF, HUGE_VALF, 0.5f},
               {-HUGE_VALF, -HUGE_VALF, -0.5f},
               {3e38f, HUGE_VALF, 0.5f}};
  for (const auto& row : table) {
    CHECK(base::prepared_gradient(unlimited, row.grad) == row.doubled);
    CHECK(base::prepared_gradient(limited, row.grad) == row.clamped);
  }
  CHECK(std::isnan(base::prepared_gradient(unlimited, nan)) && std::isnan(base::prepared_gradient(limited, nan)));
  CHECK(std::signbit(base::prepared_gradient(limited, -0.0f)));
}

void factors() {
  Recipe recipe = no_recipe();
  CHECK(base::gradient_factor(recipe, 0.25, 1e300) == 0.25 && base::gradient_factor(recipe, 1.0, 0.0) == 1.0);
  recipe.max_grad_norm = 2.0;
  CHECK(base::gradient_factor(recipe, 0.5, 1.0) == 0.5);
  CHECK(base::gradient_factor(recipe, 0.5, 4.0) == 0.5 * (2.0 / 4.000001));
  recipe.max_grad_norm = 0.0;
  CHECK(base::gradient_factor(recipe, 1.0, 0.0) == 0.0);
}

}  // namespace

int main(int argument_count, char**) {
  for_each_rule([](auto rule) { any_number_of_threads<decltype(rule)>(); });
  if (argument_count > 1) return 0;
  special_gradients();
  factors();
  layouts();
  elements_beyond_2_to_the_32();
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    every_combination<Rule>();
    long_tensors<Rule>();
    parts_are_the_whole<Rule>();
  });
  return 0;
}
