#include "cpu/run.h"

#include <algorithm>
#include <atomic>

#include "cpu/pool.h"
#include "norm/order.h"

namespace fastlr {
namespace {

// Parts of the work for each thread, taken as they come: a thread that the system slows down takes fewer.
constexpr int64_t kParts = 16;

int threads_for(int64_t elements, int threads) {
  return static_cast<int>(std::min<int64_t>(threads, elements / (kThreadedElements / 2)));
}

// Calls work(begin, end) for parts of [0, total), from up to `threads` threads.
template <class Work>
void in_parts(int64_t total, int64_t part, int threads, const Work& work) {
  std::atomic<int64_t> next{0};
  run_on_threads(threads, [&] {
    for (int64_t begin = next.fetch_add(part); begin < total; begin = next.fetch_add(part)) {
      work(begin, std::min(begin + part, total));
    }
  });
}

// The sums of all chunks of the gradients that are clipped by norm, in the order of the tasks.
class ChunkSums {
 public:
  ChunkSums(const Plan& plan, int threads) : plan_(plan) {
    const std::vector<Task>& tasks = plan.tasks();
    int64_t elements = 0;
    first_.reserve(tasks.size() + 1);
    first_.push_back(0);
    for (const Task& task : tasks) {
      const bool clipped = plan.norm_set(task.group) != kNoNorm;
      first_.push_back(first_.back() + (clipped ? FASTLR_ARCH::norm_chunks(task.span.size) : 0));
      elements += clipped ? task.span.size : 0;
    }
    sums_.resize(static_cast<std::size_t>(first_.back()));
    threads = threads_for(elements, threads);
    if (threads <= 1) {
      for (std::size_t i = 0; i < tasks.size(); ++i) fill(i, first_[i], first_[i + 1]);
    } else {
      const int64_t part = std::max<int64_t>(1, first_.back() / (threads * kParts));
      in_parts(first_.back(), part, threads, [this](int64_t begin, int64_t end) { fill(begin, end); });
    }
  }

  // Of the chunks of tasks [from, to).
  double sum(std::size_t from, std::size_t to) const {
    return kernels().sum(sums_.data() + first_[from], first_[to] - first_[from]);
  }
  void append(std::size_t from, std::size_t to, std::vector<double>& terms) const {
    terms.insert(terms.end(), sums_.begin() + first_[from], sums_.begin() + first_[to]);
  }

 private:
  void fill(int64_t begin, int64_t end) {
    const auto after = std::upper_bound(first_.begin(), first_.end(), begin);
    for (auto i = static_cast<std::size_t>(after - first_.begin()) - 1; begin < end; ++i) {
      const int64_t last = std::min(end, first_[i + 1]);
      fill(i, begin, last);
      begin = last;
    }
  }
  // Chunks [begin, end) are the task's.
  void fill(std::size_t i, int64_t begin, int64_t end) {
    const Task& task = plan_.tasks()[i];
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t at = (chunk - first_[i]) * kNormChunk;
      const char* grad = static_cast<const char*>(task.span.grad) + at * element_size(task.dtype);
      sums_[static_cast<std::size_t>(chunk)] =
          kernels().sum_squares(task.dtype, grad, std::min(kNormChunk, task.span.size - at));
    }
  }

  const Plan& plan_;
  std::vector<int64_t> first_;  // each task's first chunk, and their number
  std::vector<double> sums_;
};

}  // namespace

void run(const Plan& plan, int threads) {
  const Kernels& table = kernels();
  const RuleKernels& rule = table.rules[plan.rule().number];
  const auto update = [&](const Task& task, const Span& span, int64_t begin) {
    const Extra* extra = plan.extra(task);
    if (extra == nullptr) {
      rule.update[static_cast<int>(task.dtype)](plan.hyper(task), plan.scalars(task), span);
    } else {
      const RecipeSpan what{span, *extra, task.dtype, begin, plan.count(task), plan.factor(task)};
      table.update_recipe(rule, plan.hyper(task), plan.scalars(task), what);
    }
  };
  const int64_t total = plan.elements();
  threads = threads_for(total, threads);
  if (threads <= 1) {
    for (const Task& task : plan.tasks()) update(task, task.span, 0);
    return;
  }
  const int64_t part = std::max<int64_t>(1 << 14, total / (threads * kParts));
  in_parts(total, part, threads, [&](int64_t begin, int64_t end) { plan.visit(begin, end, update); });
}

std::vector<double> squares(const Plan& plan, int threads) {
  const ChunkSums chunks(plan, threads);
  const std::vector<Task>& tasks = plan.tasks();
  std::vector<double> sums(plan.groups() + 1), shared;
  for (std::size_t from = 0, to = 0; from < tasks.size(); from = to) {
    const int32_t group = tasks[from].group, set = plan.norm_set(group);
    while (to < tasks.size() && tasks[to].group == group) ++to;
    if (set == kSharedNorm) chunks.append(from, to, shared);
    if (set > kSharedNorm) sums[static_cast<std::size_t>(set)] = chunks.sum(from, to);
  }
  sums[kSharedNorm] = kernels().sum(shared.data(), static_cast<int64_t>(shared.size()));
  return sums;
}

std::vector<double> squares_of_tasks(const Plan& plan, int threads) {
  const ChunkSums chunks(plan, threads);
  std::vector<double> sums(plan.tasks().size());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = chunks.sum(i, i + 1);
  return sums;
}

}  // namespace fastlr
