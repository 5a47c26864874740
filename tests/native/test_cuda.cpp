// The step kernels, run by the host: bit-equal to the CPU's over several steps, in every type, for every alignment, in
// any order of blocks and threads. Bounds are watched by the sanitizers, races by ThreadSanitizer.
#include <cstdint>
#include <string>
#include <vector>

#include "check_native.h"
#include "cuda_model.h"
#include "fiber.h"

namespace {

using namespace cuda_test;
using fastlr::schedule::Op;
using fastlr::schedule::ProgramBuilder;

#if STANDIN_TSAN
constexpr bool kThorough = false;  // some hundred times slower
#else
constexpr bool kThorough = true;
#endif

const Execution kOrders[] = {{Order::forward, Order::forward, 1, 1},
                             {Order::reverse, Order::reverse, 2, 2},
                             {Order::random, Order::random, 4, 3}};

Program ramp(double start, double end, double steps) {
  ProgramBuilder builder;
  builder.cosine({start, end, 0.0, steps}, 1.0);
  return builder.build();
}

// From 0 on: no momentum in the first update, so that the second is the first to write the buffer.
Program late_momentum() {
  ProgramBuilder builder;
  builder.table({1}, {0.0, 0.9});
  return builder.build();
}

struct Schedules {
  Program rate = ramp(0.1, 0.01, 7.0);
  Program momentum = late_momentum();
  Program decay = ramp(0.0, 0.3, 5.0);
};

std::vector<GroupCase> groups_with(const Schedules& all) {
  const Follows none, rate{&all.rate}, momentum{&all.momentum}, decay{&all.decay};
  return {{{0.1, 0.9, 0.0, 0.01, true, false}, none, none, none},
          {{0.1, 0.0, 0.0, 0.0, false, false}, rate, none, none, 0.5, 2},
          {{0.1, 0.0, 0.3, 0.02, false, true}, rate, momentum, decay},
          {{0.2, 0.8, 0.0, 0.0, false, true}, rate, none, decay, 1.0, 3, true},
          {{0.0, 0.7, 0.5, 0.0, false, false}, none, none, none}};
}

// Around the vectors, the tiles of 8192 bytes and the chunks; alike or not alike in their alignment.
std::vector<Tensor> tensors_of(const std::vector<DType>& dtypes, std::size_t groups) {
  const int64_t thorough[] = {0, 1, 3, 7, 8, 9, 31, 257, 1023, 2048, 2049, 4099, 10007};
  const int64_t few[] = {1, 9, 2049, 4099};
  const std::vector<int64_t> sizes(kThorough ? std::vector<int64_t>(std::begin(thorough), std::end(thorough))
                                             : std::vector<int64_t>(std::begin(few), std::end(few)));
  const std::vector<Offsets> offsets = {{0, 0, 0}, {1, 1, 1}, {3, 3, 3}, {0, 1, 0}, {1, 1, 0}};
  std::vector<Tensor> all;
  for (const DType dtype : dtypes) {
    for (const int64_t size : sizes) {
      for (const Offsets& at : offsets) {
        const auto number = all.size();
        all.emplace_back(dtype, size, at, static_cast<int32_t>(number % groups), number % 3 == 0);
      }
    }
  }
  return all;
}

template <class Arguments>
void steps_agree(const std::string& kernel, const std::vector<DType>& dtypes, std::size_t per_launch,
                 const Execution& how) {
  const Schedules schedules;
  const std::vector<GroupCase> groups = groups_with(schedules);
  Model model(groups, tensors_of(dtypes, groups.size()));
  const std::vector<int64_t> updates = model.updates();
  model.refresh(how);
  model.check(updates);
  for (int step = 0; step < (kThorough ? 4 : 2); ++step) {
    model.new_gradients();
    model.expect_step();
    model.launch<Arguments>(kernel, per_launch, 1 + step % 3, how);
    model.check(updates);
  }
}

void every_type() {
  struct Case {
    const char* kernel;
    std::vector<DType> dtypes;
  };
  const Case cases[] = {
      {"fastlr_sgd_float32", {DType::float32}},
      {"fastlr_sgd_float64", {DType::float64}},
      {"fastlr_sgd_float16", {DType::float16}},
      {"fastlr_sgd_bfloat16", {DType::bfloat16}},
      {"fastlr_sgd_mixed", {DType::float32, DType::bfloat16, DType::float64, DType::float16}},
  };
  for (const Case& now : cases) {
    for (const Execution& how : kOrders) {
      steps_agree<StepArguments<kLongTensors>>(now.kernel, now.dtypes, kLongTensors, how);
      if (kThorough) steps_agree<StepArguments<kShortTensors>>(now.kernel, now.dtypes, 17, how);
    }
  }
}

// A step that updates nothing still counts.
void without_tensors() {
  const Schedules schedules;
  Model model(groups_with(schedules), {});
  model.refresh(kOrders[0]);
  const auto arguments = std::make_unique<StepArguments<kShortTensors>>();
  arguments->state = &model.state();
  arguments->last = 1;
  for (int step = 0; step < 3; ++step) {
    model.expect_step();
    run_kernel("fastlr_sgd_float32", false, 1, arguments.get(), kOrders[2]);
    model.check({});
  }
}

// More groups than threads that evaluate them.
void many_groups() {
  const Schedules schedules;
  std::vector<GroupCase> groups;
  for (int g = 0; g < 150; ++g) {
    groups.push_back({{0.1, 0.5, 0.0, 0.0, false, false}, {&schedules.rate}, {}, {}, 1.0 + g, g % 9});
  }
  std::vector<Tensor> tensors;
  for (int32_t g = 0; g < 150; g += 7) tensors.emplace_back(DType::float32, 5, Offsets{0, 0, 0}, g, true);
  Model model(groups, std::move(tensors));
  const std::vector<int64_t> updates = model.updates();
  model.refresh(kOrders[1]);
  for (int step = 0; step < 3; ++step) {
    model.check(updates);
    model.expect_step();
    model.launch<StepArguments<kLongTensors>>("fastlr_sgd_float32", 9, 1, kOrders[2]);
  }
  model.check(updates);
}

// A hyper-parameter without a value stops the update before a byte is written, and the ones after it.
void missing_values() {
  ProgramBuilder builder;
  builder.constant(0.1);
  builder.until(1);
  const Program ends = builder.build();
  const SgdHyper constants{0.1, 0.9, 0.0, 0.0, false, false};
  for (int which = 0; which < 3; ++which) {
    std::vector<GroupCase> groups(2, GroupCase{constants, {}, {}, {}});
    (which == 0 ? groups[1].lr : which == 1 ? groups[1].momentum : groups[1].weight_decay).program = &ends;
    std::vector<Tensor> tensors;
    for (int32_t g = 0; g < 2; ++g) tensors.emplace_back(DType::float32, 5000, Offsets{1, 1, 1}, g, true);
    Model model(groups, std::move(tensors));
    const std::vector<int64_t> updates = model.updates();
    model.refresh(kOrders[1]);
    CHECK(model.state().missing[0] == 0);
    for (int step = 0; step < 4; ++step) {
      if (step < 2) model.expect_step();
      model.launch<StepArguments<kShortTensors>>("fastlr_sgd_float32", 1, 1, kOrders[2]);
      CHECK(model.state().count == std::min(step + 1, 2));
      if (step < 1) model.check(updates);
    }
    CHECK(model.state().missing[model.state().half] == 1);
    model.check_tensors();
  }
}

// The host asks for values at a step without one, whatever the order of threads.
void missing_from_the_start() {
  ProgramBuilder builder;
  builder.constant(0.1);
  builder.until(1);
  const Program ends = builder.build();
  for (const Order threads : {Order::forward, Order::reverse}) {
    std::vector<GroupCase> groups(3, GroupCase{{0.1, 0.9, 0.0, 0.0, false, false}, {&ends}, {}, {}, 1.0, 2});
    std::vector<Tensor> tensors;
    tensors.emplace_back(DType::float32, 100, Offsets{0, 0, 0}, 0, true);
    Model model(groups, std::move(tensors));
    for (int again = 0; again < 2; ++again) {
      model.refresh({Order::forward, threads, 1, 1});
      CHECK(model.state().missing[0] == 3);
      model.launch<StepArguments<kShortTensors>>("fastlr_sgd_float32", 1, 1, kOrders[2]);
      CHECK(model.state().count == 0);
      model.check_tensors();
    }
  }
}

// The host changes a group; the next update already uses it.
void changes_of_the_host() {
  const Schedules schedules;
  const std::vector<GroupCase> groups = groups_with(schedules);
  Model model(groups, tensors_of({DType::float32}, groups.size()));
  const std::vector<int64_t> updates = model.updates();
  model.refresh(kOrders[0]);
  for (int step = 0; step < 3; ++step) {
    model.groups()[1].lr_scale *= 0.5;
    model.groups()[0].hyper.lr = 0.01 * step;
    model.groups()[3].held = step != 1;
    for (std::size_t g = 0; g < groups.size(); ++g) model.describe(g);
    model.refresh(kOrders[2]);
    model.check(updates);
    model.expect_step();
    model.launch<StepArguments<kLongTensors>>("fastlr_sgd_mixed", 40, 2, kOrders[1]);
    model.check(updates);
  }
}

}  // namespace

int main() {
  every_type();
  without_tensors();
  many_groups();
  missing_values();
  missing_from_the_start();
  changes_of_the_host();
  return 0;
}
