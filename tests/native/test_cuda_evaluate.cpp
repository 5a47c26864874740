// The kernels beside the step: schedules at many steps, bit-equal to the CPU's, and the host's writes to the state.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "check_native.h"
#include "cuda_cases.h"
#include "schedule_oracle.h"

namespace {

using namespace cuda_test;

bool same(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

Program random_program(int depth) {
  const std::unique_ptr<Node> node = random_node(depth);
  ProgramBuilder builder;
  emit(builder, *node);
  if (random_between(0, 2) == 0) builder.until(random_between(0, 300));
  return builder.build();
}

// Exactly as many values as the kernel may write, so that AddressSanitizer sees the rest.
template <class T>
void compare(const std::vector<Program>& programs, const std::vector<int64_t>& steps, bool as_array, int64_t stride,
             const Execution& how) {
  const auto rows = static_cast<int64_t>(programs.size()), count = static_cast<int64_t>(steps.size());
  const int64_t row_stride = count + 3;
  const std::unique_ptr<T[]> out(new T[static_cast<std::size_t>((rows - 1) * row_stride + count)]);
  const T untouched = T(-77);
  std::fill(out.get(), out.get() + (rows - 1) * row_stride + count, untouched);
  const std::unique_ptr<int64_t[]> array(new int64_t[steps.size()]);
  std::copy(steps.begin(), steps.end(), array.get());

  const auto arguments = std::make_unique<EvaluateArguments<kShortPrograms>>();
  *arguments = {};
  arguments->out = out.get();
  arguments->row_stride = row_stride;
  arguments->steps = as_array ? array.get() : nullptr;
  arguments->first = steps[0];
  arguments->stride = stride;
  arguments->count = count;
  arguments->single = sizeof(T) == sizeof(float) ? 1 : 0;
  for (std::size_t k = 0; k < programs.size(); ++k) arguments->programs[k] = programs[k].view();
  const auto blocks = static_cast<int32_t>((count + kEvaluateThreads - 1) / kEvaluateThreads);
  run_kernel("fastlr_evaluate", false, blocks, arguments.get(), how, static_cast<unsigned>(rows));

  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t n = 0; n < count; ++n) {
      const int64_t t = steps[static_cast<std::size_t>(n)];
      const double value = t < 0 ? std::numeric_limits<double>::quiet_NaN()
                                 : base::schedule::evaluate(programs[static_cast<std::size_t>(k)].view(), t);
      CHECK(same(out[static_cast<std::size_t>(k * row_stride + n)], static_cast<T>(value)));
    }
    for (int64_t n = count; k + 1 < rows && n < row_stride; ++n) {
      CHECK(out[static_cast<std::size_t>(k * row_stride + n)] == untouched);
    }
  }
}

void schedules_at_many_steps() {
  const int64_t counts[] = {1, 127, 128, 129, 500};
  for (int round = 0; round < 20; ++round) {
    std::vector<Program> programs;
    for (int64_t k = random_between(1, 9); k > 0; --k) programs.push_back(random_program(static_cast<int>(k % 5)));
    const Execution how{Order::random, Order::random, 1 + round % 4, static_cast<uint64_t>(round)};
    const int64_t count = counts[round % 5], first = random_between(-5, 400), stride = random_between(-3, 1000);
    std::vector<int64_t> spaced, scattered;
    for (int64_t n = 0; n < count; ++n) {
      spaced.push_back(first + n * stride);
      scattered.push_back(random_between(-9, n % 2 == 0 ? 400 : kMaxSteps));
    }
    compare<double>(programs, spaced, false, stride, how);
    compare<float>(programs, spaced, false, stride, how);
    compare<double>(programs, scattered, true, 0, how);
    compare<float>(programs, scattered, true, 0, how);
  }
}

// Writes of any length to any place.
template <class Rule>
void writes_of_the_host() {
  for (int round = 0; round < 20; ++round) {
    const auto arguments = std::make_unique<PrepareArguments>();
    *arguments = {};
    std::vector<std::unique_ptr<uint64_t[]>> places;
    int32_t used = 0;
    while (arguments->writes < PrepareArguments::kWrites && used < PrepareArguments::kWords) {
      const auto words = static_cast<int32_t>(
          std::min<int64_t>(random_between(0, round % 2 == 0 ? 5 : 300), PrepareArguments::kWords - used));
      places.push_back(std::unique_ptr<uint64_t[]>(new uint64_t[static_cast<std::size_t>(words)]));
      arguments->write[arguments->writes++] = {places.back().get(), used, words};
      for (int32_t i = 0; i < words; ++i) arguments->payload[used++] = random_bits();
    }
    run_kernel(kernel_of<Rule>("prepare"), round % 3 == 0, 1, arguments.get(), {Order::forward, Order::random, 1, 5});
    for (int32_t i = 0; i < arguments->writes; ++i) {
      const fastlr::cuda::Write& write = arguments->write[i];
      const auto bytes = static_cast<std::size_t>(write.words) * sizeof(uint64_t);
      CHECK(std::memcmp(write.to, arguments->payload + write.begin, bytes) == 0);
    }
  }
}

// Each write comes after the one before: where they overlap, the last one stays.
template <class Rule>
void overlapping_writes() {
  uint64_t words[8] = {};
  const auto arguments = std::make_unique<PrepareArguments>();
  *arguments = {};
  for (int32_t i = 0; i < 5; ++i) {
    arguments->write[arguments->writes++] = {words + i % 3, 8 * i, 6};
    std::fill_n(arguments->payload + 8 * i, 8, static_cast<uint64_t>(i));
  }
  const uint64_t expected[8] = {3, 4, 4, 4, 4, 4, 4, 2};
  for (const Order order : {Order::forward, Order::reverse}) {
    run_kernel(kernel_of<Rule>("prepare"), false, 1, arguments.get(), {Order::forward, order, 1, 1});
    CHECK(std::memcmp(words, expected, sizeof words) == 0);
  }
}

// What a launch writes to a group is what the values are made of afterwards.
template <class Rule>
void values_after_writes() {
  const Schedules schedules;
  ProgramBuilder builder;
  builder.linear({1.0, 0.0, 0.0, 10.0});
  const Program line = builder.build();
  std::vector<GroupCase<Rule>> groups(2, groups_of(Rule(), schedules).front());
  for (GroupCase<Rule>& group : groups) group.follows[0] = &line;
  Model<Rule> model(groups, {});
  const auto arguments = std::make_unique<PrepareArguments>();
  *arguments = {};
  arguments->state = &model.state();
  arguments->refresh = 1;
  const int64_t clock = 4, updates = 11;
  const double scale = 0.25;
  arguments->writes = 3;
  arguments->write[0] = {&model.state().groups[1].clock, 0, 1};
  arguments->write[1] = {&model.state().groups[0].follows[0].scale, 1, 1};
  arguments->write[2] = {&model.state().groups[1].updates, 2, 1};
  std::memcpy(arguments->payload, &clock, sizeof clock);
  std::memcpy(arguments->payload + 1, &scale, sizeof scale);
  std::memcpy(arguments->payload + 2, &updates, sizeof updates);
  run_kernel(kernel_of<Rule>("prepare"), false, 1, arguments.get(), {Order::forward, Order::reverse, 1, 1});
  model.groups()[1].clock = clock;
  model.groups()[0].lr_scale = scale;
  model.groups()[1].updates = updates;
  model.check();
}

}  // namespace

int main() {
  schedules_at_many_steps();
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    writes_of_the_host<Rule>();
    overlapping_writes<Rule>();
    values_after_writes<Rule>();
  });
  return 0;
}
