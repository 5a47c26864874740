// The driver layer over the stand-in for libcuda.so.1: steps with one launch each, graphs, two devices, and every way
// in which a GPU may be out of reach. What a process finds it keeps, so each of those is a run of its own.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "check.h"
#include "check_native.h"
#include "cuda/evaluate.h"
#include "cuda_training.h"

namespace {

using namespace cuda_test;

// Steps of a rule are launches of its kernels.
template <class Rule>
int count_steps() {
  return count(kernel_of<Rule>("float")) + count(kernel_of<Rule>("bfloat")) + count(kernel_of<Rule>("mixed"));
}
template <class Rule>
int count_prepared() {
  return count(kernel_of<Rule>("prepare"));
}

template <class Rule>
void steps() {
  Training<Rule> training(open(), 60);
  for (int i = 0; i < 5; ++i) {
    standin_reset();
    training.update(nullptr);
    training.check();
    CHECK(count(kernel_of<Rule>("mixed")) == 1 && count_prepared<Rule>() == (i == 0 ? 1 : 0));
  }
  // All that a step in the middle of a training asks of the driver.
  CHECK(count("\"call\"") == 3 && count("cuCtxPushCurrent") == 1 && count("cuCtxPopCurrent") == 1);
  CHECK(training.step().look().updates == 0);
  training.group(1).hyper.lr = 0.01;
  standin_reset();
  training.update(nullptr);
  training.check();
  CHECK(count_prepared<Rule>() == 1 && count("cuMem") == 0);
}

template <class Rule>
void more_tensors_than_a_launch_takes() {
  Training<Rule> training(open(), 1600);
  training.update(nullptr);
  standin_reset();
  training.update(nullptr);
  training.check();
  CHECK(count_steps<Rule>() == 3 && count_prepared<Rule>() == 0);
}

// A tensor's second update waits for its first: they lie in launches of their own.
template <class Rule>
void tensors_given_twice() {
  Training<Rule> training(open(), 11, 2);
  for (int i = 0; i < 3; ++i) {
    standin_reset();
    training.update(nullptr);
    training.check();
    CHECK(count_steps<Rule>() >= 2);
  }
}

// Captured once, replayed often: the schedule goes on and so do the counts, and the host learns of it when it looks.
template <class Rule>
void graphs() {
  constexpr int kReplays = kThorough ? 1000 : 50;
  Training<Rule> training(open(), 9);
  void* stream = standin_stream(0, 0);
  training.update(stream);
  standin_reset();
  CHECK(standin_begin_capture(stream, 0) == 0);
  training.group(1).hyper.lr = 0.01;  // told beside the capture, not in it
  training.tell(stream, true);
  training.launch(stream);
  const int graph = standin_end_capture(stream);
  CHECK(graph >= 0 && count_prepared<Rule>() == 1 && count("\"captured\": 1") == 1);
  training.check();
  const std::vector<int64_t> known = training.updates();
  CHECK(standin_replay(graph, stream, kReplays) == 0);
  for (int i = 0; i < kReplays; ++i) training.expect_update();
  training.check();
  const Progress progress = training.step().look();
  CHECK(progress.updates == kReplays && progress.clocks[0] == kReplays);
  training.check_updates(progress, known);
  standin_reset();
  training.update(stream);
  training.check();
  CHECK(count_prepared<Rule>() == 0);
}

// Tensors whose counts the host changes between two steps: of one of them, of all. Told where it makes a difference.
template <class Rule>
void other_counts() {
  constexpr bool kTold = Rule::kCounts || Rule::kWritesFirst;
  Training<Rule> training(open(), 30);
  for (int i = 0; i < 3; ++i) training.update(nullptr);
  for (const std::size_t end : {2, 30}) {
    for (std::size_t i = 1; i < end; ++i) training.forget_updates(i);
    for (int step = 0; step < 2; ++step) {
      standin_reset();
      training.update(nullptr);
      training.check();
      CHECK(count_prepared<Rule>() == (step == 0 && kTold ? 1 : 0));
    }
    if (kTold) training.check_updates(training.step().look(), training.updates());
  }
}

// Work that nobody has waited for yet is not done yet.
template <class Rule>
void late_work() {
  standin_configure("deferred", "1");
  Training<Rule> training(open(), 30);
  void* stream = standin_stream(0, 0);
  for (int i = 0; i < 3; ++i) training.update(stream);
  training.check();
  CHECK(training.step().look().updates == 0);
  standin_configure("deferred", "0");
}

template <class Rule>
void two_devices() {
  Training<Rule> first(open(0), 12), second(open(1), 12);
  for (int i = 0; i < 3; ++i) {
    first.update(nullptr);
    second.update(standin_stream(1, 0));
  }
  first.check();
  second.check();
  CHECK(count("\"text\"") == 0);
}

void schedules() {
  const Device& device = open();
  const Program program = falling();
  const std::vector<const Program*> programs(900, &program);
  std::vector<double> out(programs.size() * 10, 0.0);
  standin_reset();
  evaluate(device, programs, {nullptr, 3, 150, 10}, {out.data(), 10, false}, nullptr);
  CHECK(standin_finish() == 0 && count("fastlr_evaluate") == 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    CHECK(out[i] == base::schedule::evaluate(program.view(), 3 + 150 * static_cast<int64_t>(i % 10)));
  }
}

void check_raises(const std::function<void()>& body, const std::string& text) {
  std::string raised;
  try {
    body();
  } catch (const std::exception& error) {
    raised = error.what();
  }
  if (raised.find(text) == std::string::npos) std::fprintf(stderr, "raised: %s\n", raised.c_str());
  CHECK(raised.find(text) != std::string::npos);
}

// Each error of the driver comes with its own words, and leaves no context behind.
void errors() {
  using Rule = base::sgd::Rule;
  Training<Rule> training(open(), 3);
  standin_fail("cuMemAlloc_v2", 0, 1, 2);
  check_raises([&] { training.update(nullptr); }, "out of memory (CUDA_ERROR_OUT_OF_MEMORY)");
  CHECK(standin_contexts() == 0);
  Training<Rule> other(open(), 3);
  other.update(nullptr);
  standin_fail("cuLaunchKernel", 0, 1, 701);
  check_raises([&] { other.launch(nullptr); }, "too many resources requested for launch");
  standin_fail("cuStreamIsCapturing", 0, 1, 700);
  const auto ask = [] {
    const Current current(open());
    open().capturing(nullptr);
  };
  check_raises(ask, "an illegal memory access was encountered");
  check_raises([&] { other.launch(nullptr); }, "an illegal memory access was encountered");
  CHECK(standin_contexts() == 0);
  standin_reset();
}

void in_reach() {
  CHECK(find_driver().usable && find_driver().device_count == 2);
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    steps<Rule>();
    more_tensors_than_a_launch_takes<Rule>();
    tensors_given_twice<Rule>();
    graphs<Rule>();
    other_counts<Rule>();
    late_work<Rule>();
    two_devices<Rule>();
  });
  schedules();
  errors();
  const int before = standin_allocations();
  {
    Training<base::adam::Rule>(open(), 3).update(nullptr);
  }
  CHECK(standin_allocations() == before);
}

// A driver that passes 4096 bytes of arguments: shorter launches, the same results.
void short_arguments() {
  standin_configure("driver", "12000");
  CHECK(!open().long_arguments());
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    Training<Rule> training(open(), 200);
    training.update(nullptr);
    standin_reset();
    training.update(nullptr);
    training.check();
    // 88 tensors in each, or 64 with the addresses of three arrays of state.
    CHECK(count_steps<Rule>() == (Rule::kStates == 3 ? 4 : 3));
  });
}

void check_reason(const std::string& text) {
  std::string reason;
  const bool found = find_device(0, &reason) != nullptr;
  if (found || reason.find(text) == std::string::npos) std::fprintf(stderr, "reason: %s\n", reason.c_str());
  CHECK(!found && reason.find(text) != std::string::npos);
  CHECK(standin_contexts() == 0);
}

// The name of the run, what is set before, and the reason that it must find.
const std::map<std::string, std::pair<std::function<void()>, std::string>> kOutOfReach = {
    {"no_device", {[] { standin_configure("devices", "0"); }, "no CUDA-capable device is detected"}},
    {"old_driver", {[] { standin_configure("driver", "11080"); }, "it is for CUDA 11.8"}},
    {"mismatch", {[] { standin_fail("cuInit", 0, -1, 803); }, "unsupported display driver / cuda driver combination"}},
    {"no_image",
     {[] { standin_configure("capability", "75"); }, "no device code for Stand-in GPU (compute capability 7.5)"}},
    {"bad_image", {[] { standin_fail("cuModuleLoadData", 0, -1, 200); }, "device kernel image is invalid"}},
    {"no_function", {[] { standin_fail("cuModuleGetFunction", 3, -1, 500); }, "named symbol not found"}},
    {"no_context", {[] { standin_fail("cuDevicePrimaryCtxRetain", 0, -1, 2); }, "out of memory"}},
};

}  // namespace

int main(int argument_count, char** arguments) {
  const std::string run = argument_count > 1 ? arguments[1] : "in_reach";
  if (run == "in_reach") {
    in_reach();
  } else if (run == "short_arguments") {
    short_arguments();
  } else {
    kOutOfReach.at(run).first();
    check_reason(kOutOfReach.at(run).second);
  }
  return 0;
}
