// The norm's and the recipe's kernels of every rule, run by the host: the bits of the CPU's kernels for every option
// and every mix of types, in any order of blocks and threads; and skipped steps.
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "check_native.h"
#include "cuda_cases.h"
#include "cuda_recipe_model.h"

namespace {

using namespace cuda_test;
using recipe_test::kInfinity;

constexpr std::size_t kMost = 1 << 16;  // as many tensors as a launch takes

template <class Rule>
using Groups = std::vector<GroupCase<Rule>>;
template <class Rule>
using Tensors = std::vector<RecipeTensor<Rule>>;

struct All : Schedules {
  Program average = ramp(0.3, 0.95, 6.0);
};

Recipe recipe_of(int options) {
  Recipe recipe = no_recipe();
  if ((options & 1) != 0) recipe.max_grad_value = 0.5;
  if ((options & 2) != 0) recipe.ema_decay = (options & 1) != 0 ? 0.99 : 0.3;
  recipe.zero_grad_in_step = (options & 4) != 0;
  recipe.master_weights = options / 8 % 3 == 1;
  recipe.stochastic_rounding = options / 8 % 3 == 2;
  recipe.rounding_seed = options;
  // No norm, one of its own, a share in one.
  if (options / 24 != 0) recipe.max_grad_norm = options / 24 == 1 ? 3.0 : 1e6;
  recipe.norm_per_group = options / 24 == 1;
  return recipe;
}
constexpr int kRecipes = 72;

// A group for each recipe; the rule's own options take turns.
template <class Rule>
Groups<Rule> groups_with_recipes(const All& all) {
  const auto plain = groups_of(Rule(), all);
  Groups<Rule> groups;
  for (int options = 0; options < kRecipes; ++options) {
    groups.push_back(plain[groups.size() % plain.size()]);
    groups.back().recipe = recipe_of(options);
    groups.back().count = recipe_test::kCount;
    if (options % 7 == 2 && (options & 2) != 0) groups.back().averages_by = &all.average;
  }
  return groups;
}

// In every group all pairs of types of the weights and the state that `every` leaves.
template <class Rule>
Tensors<Rule> tensors_of(const Groups<Rule>& groups, std::size_t every) {
  const int64_t sizes[] = {0, 1, 31, 257, 3, 1023, 8};
  const Offsets offsets[] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {3, 3, 3, 3}, {0, 1, 0, 0}, {1, 1, 0, 1}, {2, 2, 2, 0}};
  Tensors<Rule> all;
  std::size_t number = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (int pair = 0; pair < kDTypeCount * kDTypeCount; ++pair) {
      Case what;
      what.dtype = static_cast<DType>(pair / kDTypeCount);
      what.state = static_cast<DType>(pair % kDTypeCount);
      what.recipe = groups[g].recipe;
      if ((what.state == DType::float64 && what.dtype != DType::float64) || ++number % every != 0) continue;
      what.updates = number % 3 == 0 ? 0 : number % 7 == 5 ? 3 : kUpdates;
      all.emplace_back(what, sizes[number % 7], offsets[number % 6], static_cast<int32_t>(g));
    }
  }
  return all;
}

template <class Rule, int32_t bytes>
void steps_agree(RecipeModel<Rule>& model, std::size_t per_launch, const Execution& how, int steps = 3) {
  const float scale = 1.0f / 3.0f, found_none = 0.0f;
  model.refresh(how);
  for (int step = 0; step < steps; ++step) {
    model.set_scale(step == 1 ? nullptr : &scale, step == 0 ? &found_none : nullptr);
    model.new_gradients();
    CHECK(model.expect_step());
    model.template launch<bytes>(per_launch, 1 + step % 3, how);
    model.check();
  }
}

template <class Rule>
void every_option() {
  const All all;
  const auto groups = groups_with_recipes<Rule>(all);
  for (const Execution& how : kOrders) {
    RecipeModel<Rule> model(groups, tensors_of<Rule>(groups, kThorough ? 1 : 31));
    steps_agree<Rule, kLongArguments>(model, kMost, how);
  }
  RecipeModel<Rule> model(groups, tensors_of<Rule>(groups, kThorough ? 5 : 91));
  steps_agree<Rule, kShortArguments>(model, kMost, kOrders[2], 2);
}

// Several chunks of a tensor for the norm and for the update, at every alignment, from several launches.
template <class Rule>
void long_tensors() {
  const All all;
  Groups<Rule> groups(2, groups_of(Rule(), all).front());
  for (GroupCase<Rule>& group : groups) {
    group.recipe = recipe_of(48 + 16 + 3);
    group.recipe.max_grad_norm = 1.0;
  }
  groups[0].recipe.norm_per_group = true;
  const int64_t thorough[] = {16383, 16384, 16385, 20011, 70001}, few[] = {20011};
  const std::vector<int64_t> sizes(std::begin(few), std::end(few)), more(std::begin(thorough), std::end(thorough));
  Tensors<Rule> tensors;
  for (int32_t g = 0; g < 2; ++g) {
    for (const int64_t size : kThorough ? more : sizes) {
      for (int64_t offset = 0; offset < 4; ++offset) {
        Case what;
        what.dtype = what.state = static_cast<DType>((static_cast<std::size_t>(offset) + tensors.size() / 4) % 4);
        what.recipe = groups[0].recipe;
        tensors.emplace_back(what, size, Offsets{offset, offset, offset, g == 0 ? offset : 0}, g);
      }
    }
  }
  RecipeModel<Rule> model(groups, std::move(tensors));
  steps_agree<Rule, kLongArguments>(model, 3, kOrders[2]);
}

// Roundings go by the logical order of elements, whatever that of memory.
template <class Rule>
void layouts() {
  const All all;
  Groups<Rule> groups(1, groups_of(Rule(), all).front());
  groups[0].recipe = recipe_of(16 + 2);
  groups[0].count = recipe_test::kCount;
  const int64_t shapes[][3] = {{1, 2, 3}, {2, 7, 60}, {3, 700, 3}, {2, 513, 1}, {5, 1, 17}, {4, 16, 64}};
  Tensors<Rule> tensors;
  for (const auto& [matrices, rows, columns] : shapes) {
    Case what;
    what.dtype = DType::bfloat16;
    what.recipe = groups[0].recipe;
    what.rows = rows;
    what.columns = columns;
    tensors.emplace_back(what, matrices * rows * columns, Offsets{0, 0, 0, 0}, 0);
  }
  RecipeModel<Rule> model(groups, std::move(tensors));
  steps_agree<Rule, kLongArguments>(model, kMost, kOrders[2]);
}

// More chunks than lanes, and more groups than a block has threads; some have no tensor, some no norm.
template <class Rule>
void many_chunks() {
  const All all;
  constexpr int32_t kGroups = 300;
  Groups<Rule> groups(kGroups, groups_of(Rule(), all).front());
  Tensors<Rule> tensors;
  for (int32_t g = 0; g < kGroups; ++g) {
    Recipe& recipe = groups[static_cast<std::size_t>(g)].recipe = recipe_of(0);
    recipe.max_grad_norm = g % 5 == 3 ? kInfinity : 0.5;
    recipe.norm_per_group = g % 3 == 1;
    Case what;
    what.recipe = recipe;
    const int count = g == 7 ? 1100 : g == 9 ? 1030 : g % 4;
    for (int i = 0; i < (kThorough ? count : count / 20); ++i) tensors.emplace_back(what, 3, Offsets{0, 0, 0, 0}, g);
  }
  RecipeModel<Rule> model(groups, std::move(tensors));
  steps_agree<Rule, kLongArguments>(model, kMost, kOrders[2], 1);
}

template <class Rule>
RecipeModel<Rule> clipped_model(const All& all, int64_t size, const Groups<Rule>* given = nullptr) {
  Groups<Rule> groups(3, groups_of(Rule(), all).front());
  groups[0].recipe = recipe_of(24 + 4 + 2);
  groups[1].recipe = recipe_of(48 + 4);
  groups[2].recipe = recipe_of(2);
  if (given != nullptr) groups = *given;
  Tensors<Rule> tensors;
  for (int32_t g = 0; g < 3; ++g) {
    Case what;
    what.dtype = static_cast<DType>(g);
    what.recipe = groups[static_cast<std::size_t>(g)].recipe;
    what.updates = 0;
    tensors.emplace_back(what, size, Offsets{1, 1, 1, 1}, g);
  }
  return RecipeModel<Rule>(std::move(groups), std::move(tensors));
}

// A tensor without elements has no chunk, but a norm and an update.
template <class Rule>
void without_elements() {
  const All all;
  RecipeModel<Rule> model = clipped_model<Rule>(all, 0);
  steps_agree<Rule, kShortArguments>(model, 1, kOrders[1]);
}

std::vector<char> with(std::vector<char> bytes, double value) {
  const auto single = static_cast<float>(value);
  std::memcpy(bytes.data() + 4 * 200, &single, sizeof single);
  return bytes;
}

// Infinities that the scaler found leave every byte, at the first update and later; but gradients are zeroed.
template <class Rule>
void skipped_by_the_scaler() {
  const All all;
  RecipeModel<Rule> model = clipped_model<Rule>(all, 2500);
  const float scale = 65536.0f;
  model.refresh(kOrders[0]);
  for (const float found : {1.0f, 0.0f, -3.0f, std::nanf(""), 0.0f}) {
    model.set_scale(&scale, &found);
    model.new_gradients();
    CHECK(model.expect_step() == (found == 0.0f));
    model.template launch<kLongArguments>(2, 1, kOrders[2]);
    model.check();
  }
}

// So does a norm that is not finite, by a gradient that is not, for the groups that are not clipped too.
template <class Rule>
void skipped_by_a_norm() {
  const All all;
  RecipeModel<Rule> model = clipped_model<Rule>(all, 2500);
  model.refresh(kOrders[1]);
  const double first[] = {kInfinity, 1.0, std::nan(""), -kInfinity, 2.0};
  for (const double value : first) {
    model.new_gradients();
    model.tensors()[0].set_gradient(with(random_elements(DType::float32, 2500), value));
    CHECK(model.expect_step() == std::isfinite(value));
    model.template launch<kLongArguments>(kMost, 2, kOrders[2]);
    CHECK((model.head().nonfinite != 0) == !std::isfinite(value));
    model.check();
  }
}

Program ends_at_once() {
  ProgramBuilder builder;
  builder.constant(0.5);
  builder.until(0);
  return builder.build();
}

// A decay of the average without a value stops the update before a byte is written, of the gradients too.
template <class Rule>
void missing_values() {
  const All all;
  const Program ends = ends_at_once();
  Groups<Rule> groups(3, groups_of(Rule(), all).front());
  for (GroupCase<Rule>& group : groups) group.recipe = recipe_of(4 + 2);
  groups[1].averages_by = &ends;
  RecipeModel<Rule> model = clipped_model<Rule>(all, 300, &groups);
  model.refresh(kOrders[1]);
  model.new_gradients();
  CHECK(model.expect_step());
  model.template launch<kShortArguments>(1, 1, kOrders[2]);
  CHECK(model.head().count == 1 && model.head().missing[model.head().half] == 1);
  model.new_gradients();
  const float found = 1.0f;
  for (const float* found_inf : {static_cast<const float*>(nullptr), &found}) {
    model.set_scale(nullptr, found_inf);
    model.template launch<kShortArguments>(1, 1, kOrders[2]);
    CHECK(model.head().count == 1);
    model.check_tensors();
  }
}

}  // namespace

int main() {
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    every_option<Rule>();
    long_tensors<Rule>();
    layouts<Rule>();
    without_elements<Rule>();
    skipped_by_the_scaler<Rule>();
    skipped_by_a_norm<Rule>();
    missing_values<Rule>();
  });
  many_chunks<base::sgd::Rule>();
  return 0;
}
