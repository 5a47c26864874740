#include "cpu/run.h"

#include <algorithm>
#include <atomic>

#include "cpu/pool.h"

namespace fastlr {
void run(const Plan& plan, int threads) {
  const RuleKernels& rule = kernels().rules[plan.rule().number];
  const auto update = [&](const Task& task, const Span& span) {
    rule.update[static_cast<int>(task.dtype)](plan.hyper(task), plan.scalars(task), span);
  };
  const int64_t total = plan.elements();
  threads = static_cast<int>(std::min<int64_t>(threads, total / (kThreadedElements / 2)));
  if (threads <= 1) {
    for (const Task& task : plan.tasks()) update(task, task.span);
    return;
  }
  // Several chunks for each thread, taken as they come: a thread that the system slows down takes fewer.
  const int64_t chunk = std::max<int64_t>(1 << 14, total / (threads * 16));
  std::atomic<int64_t> next{0};
  run_on_threads(threads, [&] {
    for (int64_t begin = next.fetch_add(chunk); begin < total; begin = next.fetch_add(chunk)) {
      plan.visit(begin, std::min(begin + chunk, total), update);
    }
  });
}

}  // namespace fastlr
