// Every index is worked on once, whoever calls, how often, from which thread, and in a forked child.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "check_native.h"
#include "cpu/pool.h"

namespace {

void each_index_once(int threads) {
  std::array<std::atomic<int>, 16> seen{};
  fastlr::run_on_threads(threads, [&](int index) { ++seen[static_cast<std::size_t>(index)]; });
  for (int index = 0; index < 16; ++index) CHECK(seen[static_cast<std::size_t>(index)] == (index < threads ? 1 : 0));
}

void many_rounds() {
  for (int round = 0; round < 2000; ++round) each_index_once(1 + round % 7);
}

void from_several_threads() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) callers.emplace_back(many_rounds);
  for (std::thread& caller : callers) caller.join();
}

void in_a_child() {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    each_index_once(4);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

int main() {
  many_rounds();
  from_several_threads();
  in_a_child();
  each_index_once(3);
  return 0;
}
