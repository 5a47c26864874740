// The update kernels on exactly allocated memory: odd sizes and offsets, every instruction set, any number of threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include "check_native.h"
#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "elements.h"
#include "number.h"
#include "rule_formulas.h"
#include "step/plan.h"

namespace {

using namespace fastlr;

struct Memory {
  std::vector<char> param, grad;
  std::vector<std::vector<char>> state;
};

// `offset`: elements that stay out of it.
template <class Rule>
Memory updated(const Kernels& table, const typename Rule::Hyper& hyper, DType dtype, Memory memory, int64_t offset,
               int64_t updates) {
  const int64_t size = static_cast<int64_t>(memory.param.size()) / element_size(dtype) - offset;
  const int64_t bytes = offset * element_size(dtype);
  Span span{memory.param.data() + bytes, memory.grad.data() + bytes, {}, size, updates, updates == 0};
  for (std::size_t k = 0; k < memory.state.size(); ++k) span.state[k] = memory.state[k].data() + bytes;
  update_with<Rule>(table, hyper, dtype, span);
  return memory;
}

// To within the roundings of the type.
template <class Rule>
void compare_with_formula(const typename Rule::Hyper& hyper, DType dtype, const Memory& before, const Memory& after,
                          int64_t offset, int64_t updates) {
  const double epsilon = dtype == DType::float64    ? 1e-15
                         : dtype == DType::float32  ? 6e-7
                         : dtype == DType::bfloat16 ? 8e-3
                                                    : 1e-3;
  const auto count = static_cast<int64_t>(before.param.size()) / element_size(dtype);
  for (int64_t i = 0; i < count; ++i) {
    formulas::Element e{element(before.param, dtype, i), element(before.grad, dtype, i), {}};
    for (std::size_t k = 0; k < Rule::kStates; ++k) e.state[k] = element(before.state[k], dtype, i);
    const double scale = i < offset ? 0.0 : formulas::update(hyper, updates, e);
    CHECK(std::fabs(element(after.param, dtype, i) - e.param) <= epsilon * scale);
    for (std::size_t k = 0; k < Rule::kStates; ++k) {
      CHECK(std::fabs(element(after.state[k], dtype, i) - e.state[k]) <= epsilon * scale);
    }
  }
}

// State of a parameter without updates is zeros, unless its first update does not read it; but for the first array it
// consists of averages of squares.
template <class Rule>
Memory random_memory(DType dtype, int64_t size, int64_t updates) {
  Memory memory{random_elements(dtype, size), random_elements(dtype, size), {}};
  for (int k = 0; k < Rule::kStates; ++k) {
    std::vector<char> state = random_elements(dtype, size);
    if (k > 0) state = magnitudes(dtype, std::move(state));
    if (updates == 0 && !Rule::kWritesFirst) std::fill(state.begin(), state.end(), '\0');
    memory.state.push_back(std::move(state));
  }
  return memory;
}

template <class Rule>
void every_table_has_the_same_bits(const typename Rule::Hyper& hyper, DType dtype, int64_t size, int64_t offset,
                                   int64_t updates) {
  const Memory before = random_memory<Rule>(dtype, size + offset, updates);
  const Memory expected = updated<Rule>(*available_kernels().back(), hyper, dtype, before, offset, updates);
  compare_with_formula<Rule>(hyper, dtype, before, expected, offset, updates);
  for (const Kernels* table : available_kernels()) {
    const Memory now = updated<Rule>(*table, hyper, dtype, before, offset, updates);
    CHECK(now.param == expected.param && now.state == expected.state && now.grad == before.grad);
  }
}

template <class Rule>
void kernels_agree() {
  for (const typename Rule::Hyper& hyper : formulas::cases_of(Rule())) {
    for (const int64_t size : {0, 1, 31, 257}) {
      for (const int64_t offset : {0, 1, 3}) {
        for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
          for (const int64_t updates : {0, 5}) {
            every_table_has_the_same_bits<Rule>(hyper, static_cast<DType>(dtype), size, offset, updates);
          }
        }
      }
    }
  }
}

// Arrays that no update reads or writes need not be there.
template <class Rule>
void state_that_is_not_needed() {
  for (const typename Rule::Hyper& hyper : formulas::cases_of(Rule())) {
    for (const bool first : {false, true}) {
      const int traffic = Rule::traffic(hyper, first);
      Memory memory = random_memory<Rule>(DType::float32, 31, first ? 0 : 1);
      Span span{memory.param.data(), memory.grad.data(), {}, 31, first ? 0 : 1, first};
      for (int k = 0; k < Rule::kStates; ++k) {
        if (Rule::writes(traffic, k)) span.state[k] = memory.state[static_cast<std::size_t>(k)].data();
      }
      for (const Kernels* table : available_kernels()) update_with<Rule>(*table, hyper, DType::float32, span);
    }
  }
}

void sixteen_bit_numbers() {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const base::Half half{static_cast<uint16_t>(bits)};
    const base::BFloat16 bfloat{static_cast<uint16_t>(bits)};
    const bool half_is_number = (bits & 0x7c00u) != 0x7c00u, bfloat_is_number = (bits & 0x7f80u) != 0x7f80u;
    const std::vector<char> bytes{static_cast<char>(bits & 0xff), static_cast<char>(bits >> 8)};
    if (half_is_number) CHECK(base::load(half) == element(bytes, DType::float16, 0));
    if (bfloat_is_number) CHECK(base::load(bfloat) == element(bytes, DType::bfloat16, 0));
    base::Half half_again;
    base::BFloat16 bfloat_again;
    base::store(base::load(half), half_again);
    base::store(base::load(bfloat), bfloat_again);
    CHECK(half_again.bits == bits || (bits & 0x7fffu) > 0x7c00u);
    CHECK(bfloat_again.bits == bits || (bits & 0x7fffu) > 0x7f80u);
  }
}

// Every value between two neighbours goes to the nearer one, and from the middle to the even one.
void rounding_to_half() {
  for (uint32_t bits = 0; bits < 0x7bffu; ++bits) {
    const base::Half low{static_cast<uint16_t>(bits)}, high{static_cast<uint16_t>(bits + 1)};
    const float middle = (base::load(low) + base::load(high)) / 2;  // exact: float32 has bits to spare
    base::Half down, up, tie;
    base::store(std::nextafter(middle, 0.0f), down);
    base::store(std::nextafter(middle, 1e9f), up);
    base::store(middle, tie);
    CHECK(down.bits == low.bits && up.bits == high.bits && tie.bits == ((bits & 1u) != 0 ? high.bits : low.bits));
  }
  for (const float large : {65520.0f, 1e6f, INFINITY}) {
    base::Half out;
    base::store(-large, out);
    CHECK(out.bits == 0xfc00u);
  }
}

Span whole(Memory& memory, DType dtype, int64_t updates) {
  const auto size = static_cast<int64_t>(memory.param.size()) / element_size(dtype);
  Span span{memory.param.data(), memory.grad.data(), {}, size, updates, updates == 0};
  for (std::size_t k = 0; k < memory.state.size(); ++k) span.state[k] = memory.state[k].data();
  return span;
}

void parts_cover_each_element_once() {
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<float>> tensors;
    Plan plan(rules().front());
    plan.add_group(HyperBytes{}, 0);
    for (int i = 0; i < 9; ++i) tensors.emplace_back(random_bits() % (round % 3 == 0 ? 3 : 700), 0.0f);
    for (std::vector<float>& t : tensors) {
      plan.add(DType::float32, Span{t.data(), t.data(), {t.data()}, static_cast<int64_t>(t.size()), 0, false}, nullptr);
    }
    const int64_t chunk = 1 + static_cast<int64_t>(random_bits() % 500);
    for (int64_t begin = 0; begin < plan.elements(); begin += chunk) {
      plan.visit(begin, std::min(begin + chunk, plan.elements()), [](const Task& task, const Span& part, int64_t at) {
        CHECK(part.state[0] == part.param && part.state[1] == nullptr);
        CHECK(part.param == static_cast<float*>(task.span.param) + at);
        for (int64_t i = 0; i < part.size; ++i) static_cast<float*>(part.param)[i] += 1.0f;
      });
    }
    for (const std::vector<float>& t : tensors) {
      for (const float visits : t) CHECK(visits == 1.0f);
    }
  }
}

// Tensors of several groups and numbers of updates, by one plan and one by one.
template <class Rule>
void plans_agree_with_single_updates() {
  Plan plan(info_of(Rule()));
  std::vector<Memory> memories, expected;
  std::vector<int64_t> counts;
  const auto hypers = formulas::cases_of(Rule());
  for (std::size_t i = 0; i < 6 * hypers.size(); ++i) {
    counts.push_back(i % 4 == 1 ? 0 : i % 7 == 2 ? 1000 : 5);
    memories.push_back(random_memory<Rule>(static_cast<DType>(i % kDTypeCount), 17, counts.back()));
  }
  for (std::size_t i = 0; i < memories.size(); ++i) {
    const auto& hyper = hypers[i / 6];
    const auto dtype = static_cast<DType>(i % kDTypeCount);
    expected.push_back(updated<Rule>(kernels(), hyper, dtype, memories[i], 0, counts[i]));
    if (i % 6 == 0) plan.add_group(bytes_of<Rule>(hyper), 0);
    plan.add(dtype, whole(memories[i], dtype, counts[i]), nullptr);
  }
  run(plan, 1);
  for (std::size_t i = 0; i < memories.size(); ++i) {
    CHECK(memories[i].param == expected[i].param && memories[i].state == expected[i].state);
  }
}

template <class Rule>
void any_number_of_threads() {
  std::vector<Memory> expected;
  for (const int threads : {1, 2, 3, 8}) {
    random_bits.seed(11);
    std::vector<Memory> memories;
    for (const int64_t size : {100003, 200004}) memories.push_back(random_memory<Rule>(DType::float32, size, 5));
    Plan plan(info_of(Rule()));
    plan.add_group(bytes_of<Rule>(formulas::cases_of(Rule()).back()), 0);
    for (Memory& memory : memories) plan.add(DType::float32, whole(memory, DType::float32, 5), nullptr);
    run(plan, threads);
    if (threads == 1) expected = memories;
    for (std::size_t i = 0; i < memories.size(); ++i) {
      CHECK(memories[i].param == expected[i].param && memories[i].state == expected[i].state);
    }
  }
}

}  // namespace

int main() {
  sixteen_bit_numbers();
  rounding_to_half();
  parts_cover_each_element_once();
  for_each_rule([](auto rule) {
    using Rule = decltype(rule);
    kernels_agree<Rule>();
    state_that_is_not_needed<Rule>();
    plans_agree_with_single_updates<Rule>();
    any_number_of_threads<Rule>();
  });
  return 0;
}
