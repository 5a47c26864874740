// The step kernels of every rule, run by the host: bit-equal to the CPU's over several steps, in every type, for every
// alignment, in any order of blocks and threads. Bounds are watched by the sanitizers, races by ThreadSanitizer.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "check_native.h"
#include "cuda_cases.h"

namespace {

using namespace cuda_test;

// Around the vectors, the tiles of 8192 bytes and the chunks; alike or not alike in their alignment. Some have another
// number of updates than their group.
template <class Rule>
std::vector<Tensor<Rule>> tensors_of(const std::vector<DType>& dtypes, std::size_t groups) {
  const int64_t thorough[] = {0, 1, 3, 7, 8, 9, 31, 257, 1023, 2048, 2049, 4099, 10007};
  const int64_t few[] = {1, 9, 2049, 4099};
  const std::vector<int64_t> sizes(kThorough ? std::vector<int64_t>(std::begin(thorough), std::end(thorough))
                                             : std::vector<int64_t>(std::begin(few), std::end(few)));
  const std::vector<Offsets> offsets = {{0, 0, 0, 0}, {1, 1, 1, 1}, {3, 3, 3, 3},
                                        {0, 1, 0, 0}, {1, 1, 0, 1}, {0, 0, 0, 1}};
  std::vector<Tensor<Rule>> all;
  for (const DType dtype : dtypes) {
    for (const int64_t size : sizes) {
      for (const Offsets& at : offsets) {
        const auto number = all.size();
        const int64_t updates = number % 3 == 0 ? 0 : number % 7 == 5 ? 3 : kUpdates;
        all.emplace_back(dtype, size, at, static_cast<int32_t>(number % groups), updates);
      }
    }
  }
  return all;
}

template <class Rule, int32_t bytes>
void steps_agree(const std::string& part, const std::vector<DType>& dtypes, std::size_t per_launch,
                 const Execution& how) {
  const Schedules schedules;
  const auto groups = groups_of(Rule(), schedules);
  Model<Rule> model(groups, tensors_of<Rule>(dtypes, groups.size()));
  model.refresh(how);
  model.check();
  for (int step = 0; step < (kThorough ? 4 : 2); ++step) {
    model.new_gradients();
    model.expect_step();
    model.template launch<bytes>(part, per_launch, 1 + step % 3, how);
    model.check();
  }
}

template <class Rule>
void every_type() {
  struct Case {
    const char* part;
    std::vector<DType> dtypes;
  };
  const Case cases[] = {
      {"float32", {DType::float32}},
      {"mixed", {DType::float64}},
      {"mixed", {DType::float16}},
      {"bfloat16", {DType::bfloat16}},
      {"mixed", {DType::float32, DType::bfloat16, DType::float64, DType::float16}},
  };
  for (const Case& now : cases) {
    for (const Execution& how : kOrders) {
      steps_agree<Rule, kLongArguments>(now.part, now.dtypes, step_tensors(kLongArguments, Rule::kStates), how);
    }
    if (kThorough) steps_agree<Rule, kShortArguments>(now.part, now.dtypes, 17, kOrders[2]);
  }
}

// A step that updates nothing still counts.
template <class Rule>
void without_tensors() {
  const Schedules schedules;
  Model<Rule> model(groups_of(Rule(), schedules), {});
  model.refresh(kOrders[0]);
  for (int step = 0; step < 3; ++step) {
    model.expect_step();
    model.template launch<kShortArguments>("float32", 1, 1, kOrders[2]);
    model.check();
  }
}

// More groups than threads that evaluate them.
template <class Rule>
void many_groups() {
  const Schedules schedules;
  std::vector<GroupCase<Rule>> groups(150, groups_of(Rule(), schedules).front());
  std::vector<Tensor<Rule>> tensors;
  for (int32_t g = 0; g < 150; ++g) {
    GroupCase<Rule>& group = groups[static_cast<std::size_t>(g)];
    group.follows[0] = &schedules.rate;
    group.lr_scale = 1.0 + g;
    group.clock = g % 9;
    group.updates = g;
    if (g % 7 == 0) tensors.emplace_back(DType::float32, 5, Offsets{0, 0, 0, 0}, g, g % 2 == 0 ? g : 0);
  }
  Model<Rule> model(groups, std::move(tensors));
  model.refresh(kOrders[1]);
  for (int step = 0; step < 3; ++step) {
    model.check();
    model.expect_step();
    model.template launch<kLongArguments>("float32", 9, 1, kOrders[2]);
  }
  model.check();
}

Program ends_after_two_steps() {
  ProgramBuilder builder;
  builder.constant(0.1);
  builder.until(1);
  return builder.build();
}

// A hyper-parameter without a value stops the update before a byte is written, and the ones after it.
template <class Rule>
void missing_values() {
  const Schedules schedules;
  const Program ends = ends_after_two_steps();
  for (std::size_t which = 0; which < scheduled_of<Rule>().size(); ++which) {
    std::vector<GroupCase<Rule>> groups(2, groups_of(Rule(), schedules).front());
    groups[1].follows[which] = &ends;
    std::vector<Tensor<Rule>> tensors;
    for (int32_t g = 0; g < 2; ++g) tensors.emplace_back(DType::float32, 5000, Offsets{1, 1, 1, 1}, g, 0);
    Model<Rule> model(groups, std::move(tensors));
    model.refresh(kOrders[1]);
    CHECK(model.state().missing[0] == 0);
    for (int step = 0; step < 4; ++step) {
      if (step < 2) model.expect_step();
      model.template launch<kShortArguments>("float32", 1, 1, kOrders[2]);
      CHECK(model.state().count == std::min(step + 1, 2));
      if (step < 1) model.check();
    }
    CHECK(model.state().missing[model.state().half] == 1);
    model.check_tensors();
  }
}

// The host asks for values at a step without one, whatever the order of threads.
template <class Rule>
void missing_from_the_start() {
  const Schedules schedules;
  const Program ends = ends_after_two_steps();
  for (const Order threads : {Order::forward, Order::reverse}) {
    std::vector<GroupCase<Rule>> groups(3, groups_of(Rule(), schedules).front());
    for (GroupCase<Rule>& group : groups) {
      group.follows[0] = &ends;
      group.clock = 2;
    }
    std::vector<Tensor<Rule>> tensors;
    tensors.emplace_back(DType::float32, 100, Offsets{0, 0, 0, 0}, 0, 0);
    Model<Rule> model(groups, std::move(tensors));
    for (int again = 0; again < 2; ++again) {
      model.refresh({Order::forward, threads, 1, 1});
      CHECK(model.state().missing[0] == 3);
      model.template launch<kShortArguments>("float32", 1, 1, kOrders[2]);
      CHECK(model.state().count == 0);
      model.check_tensors();
    }
  }
}

// The host changes a group; the next update already uses it.
template <class Rule>
void changes_of_the_host() {
  const Schedules schedules;
  const auto groups = groups_of(Rule(), schedules);
  Model<Rule> model(groups, tensors_of<Rule>({DType::float32}, groups.size()));
  model.refresh(kOrders[0]);
  for (int step = 0; step < 3; ++step) {
    model.groups()[1].lr_scale *= 0.5;
    model.groups()[0].hyper.lr = 0.01 * step;
    model.groups()[2].updates = 3 * step;
    model.groups()[3].held = step != 1;
    for (std::size_t g = 0; g < groups.size(); ++g) model.describe(g);
    model.refresh(kOrders[2]);
    model.check();
    model.expect_step();
    model.template launch<kLongArguments>("mixed", 40, 2, kOrders[1]);
    model.check();
  }
}

}  // namespace

int main() {
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    every_type<Rule>();
    without_tensors<Rule>();
    many_groups<Rule>();
    missing_values<Rule>();
    missing_from_the_start<Rule>();
    changes_of_the_host<Rule>();
  });
  return 0;
}
