// Every part of the work is done once, whoever calls, how often, from which thread, and in a forked child; no call of
// the work outlasts the round.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check_native.h"
#include "cpu/pool.h"

namespace {

void each_part_once(int threads) {
  std::array<std::atomic<int>, 40> seen{};
  std::atomic<std::size_t> next{0};
  std::atomic<int> calls{0};
  std::atomic<int> running{0};
  fastlr::run_on_threads(threads, [&] {
    ++calls;
    ++running;
    for (std::size_t part = next++; part < seen.size(); part = next++) ++seen[part];
    --running;
  });
  CHECK(running == 0 && calls >= 1 && calls <= threads);
  for (const std::atomic<int>& part : seen) CHECK(part == 1);
}

// Parts that wait for each other: the threads really are several.
void together() {
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  fastlr::run_on_threads(2, [&] {
    ++inside;
    for (int patience = 0; patience < 2000 && !met; ++patience) {
      if (inside == 2) met = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  CHECK(met);
}

void many_rounds() {
  for (int round = 0; round < 2000; ++round) each_part_once(1 + round % 7);
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
    each_part_once(4);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

int main() {
  together();
  many_rounds();
  from_several_threads();
  in_a_child();
  each_part_once(3);
  return 0;
}
