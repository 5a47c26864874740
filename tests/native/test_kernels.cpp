// The update kernels on exactly allocated memory: odd sizes and offsets, every instruction set, any number of threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "check_native.h"
#include "cpu/dispatch.h"
#include "cpu/run.h"
#include "elements.h"
#include "rules/number.h"
#include "step/plan.h"

namespace {

using namespace fastlr;

struct Memory {
  std::vector<char> param, grad, state;
};

Memory updated(const Kernels& table, const SgdHyper& hyper, DType dtype, Memory memory, int64_t offset, bool first) {
  const int64_t size = static_cast<int64_t>(memory.param.size()) / element_size(dtype) - offset;
  const int64_t bytes = offset * element_size(dtype);
  const Span span{memory.param.data() + bytes, memory.grad.data() + bytes, memory.state.data() + bytes, size, first};
  table.sgd[static_cast<int>(dtype)](hyper, span);
  return memory;
}

double element(const std::vector<char>& bytes, DType dtype, int64_t i) {
  if (dtype == DType::float64) return reinterpret_cast<const double*>(bytes.data())[i];
  if (dtype == DType::float32) return reinterpret_cast<const float*>(bytes.data())[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(bytes.data())[i];
  const int exponent_bits = dtype == DType::bfloat16 ? 8 : 5;
  const int fraction_bits = 15 - exponent_bits;
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                         : std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// The update in float64, from its formula, to within the roundings of the type.
void compare_with_formula(const SgdHyper& h, DType dtype, const Memory& before, const Memory& after, int64_t offset,
                          bool first) {
  const double epsilon = dtype == DType::float64    ? 1e-15
                         : dtype == DType::float32  ? 6e-7
                         : dtype == DType::bfloat16 ? 8e-3
                                                    : 1e-3;
  const auto count = static_cast<int64_t>(before.param.size()) / element_size(dtype);
  for (int64_t i = 0; i < count; ++i) {
    const double p = element(before.param, dtype, i), g = element(before.grad, dtype, i);
    double b = element(before.state, dtype, i);
    double expected = p;
    if (i >= offset) {
      const double x = (h.maximize ? -g : g) + h.weight_decay * p;
      if (h.momentum != 0) b = first ? x : h.momentum * b + (1 - h.dampening) * x;
      const double direction = h.momentum == 0 ? x : h.nesterov ? x + h.momentum * b : b;
      expected = p - h.lr * direction;
    }
    const double scale = 1 + std::fabs(p) + std::fabs(g) + std::fabs(b);
    CHECK(std::fabs(element(after.param, dtype, i) - expected) <= epsilon * scale);
    CHECK(std::fabs(element(after.state, dtype, i) - b) <= epsilon * scale);
  }
}

void every_table_has_the_same_bits(const SgdHyper& hyper, DType dtype, int64_t size, int64_t offset, bool first) {
  const Memory before{random_elements(dtype, size + offset), random_elements(dtype, size + offset),
                      random_elements(dtype, size + offset)};
  const Memory expected = updated(*available_kernels().back(), hyper, dtype, before, offset, first);
  compare_with_formula(hyper, dtype, before, expected, offset, first);
  for (const Kernels* table : available_kernels()) {
    const Memory now = updated(*table, hyper, dtype, before, offset, first);
    CHECK(now.param == expected.param && now.state == expected.state && now.grad == before.grad);
  }
}

void kernels_agree() {
  for (const int64_t size : {0, 1, 31, 257}) {
    for (const int64_t offset : {0, 1, 3}) {
      for (int flags = 0; flags < 32; ++flags) {
        const SgdHyper hyper{0.1,
                             (flags & 1) != 0 ? 0.9 : 0.0,
                             (flags & 2) != 0 ? 0.3 : 0.0,
                             (flags & 4) != 0 ? 0.01 : 0.0,
                             (flags & 8) != 0,
                             (flags & 16) != 0};
        for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
          for (const bool first : {false, true}) {
            every_table_has_the_same_bits(hyper, static_cast<DType>(dtype), size, offset, first);
          }
        }
      }
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

void parts_cover_each_element_once() {
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<float>> tensors;
    Plan plan;
    plan.add_group(SgdHyper{});
    for (int i = 0; i < 9; ++i) tensors.emplace_back(random_bits() % (round % 3 == 0 ? 3 : 700), 0.0f);
    for (std::vector<float>& t : tensors) {
      plan.add(DType::float32, Span{t.data(), t.data(), nullptr, static_cast<int64_t>(t.size()), false});
    }
    const int64_t chunk = 1 + static_cast<int64_t>(random_bits() % 500);
    for (int64_t begin = 0; begin < plan.elements(); begin += chunk) {
      plan.visit(begin, std::min(begin + chunk, plan.elements()), [](const Task&, const Span& part) {
        for (int64_t i = 0; i < part.size; ++i) static_cast<float*>(part.param)[i] += 1.0f;
      });
    }
    for (const std::vector<float>& t : tensors) {
      for (const float visits : t) CHECK(visits == 1.0f);
    }
  }
}

void any_number_of_threads() {
  std::vector<float> expected;
  for (const int threads : {1, 2, 3, 8}) {
    random_bits.seed(11);
    const int64_t size = 300007;
    std::vector<char> param = random_elements(DType::float32, size), grad = random_elements(DType::float32, size);
    Plan plan;
    plan.add_group(SgdHyper{0.1, 0.0, 0.0, 0.01, false, false});
    plan.add(DType::float32, Span{param.data(), grad.data(), nullptr, size / 3, true});
    plan.add(DType::float32,
             Span{param.data() + size / 3 * 4, grad.data() + size / 3 * 4, nullptr, size - size / 3, true});
    run(plan, threads);
    const auto* values = reinterpret_cast<const float*>(param.data());
    if (threads == 1) expected.assign(values, values + size);
    CHECK(std::memcmp(expected.data(), values, param.size()) == 0);
  }
}

}  // namespace

int main() {
  sixteen_bit_numbers();
  rounding_to_half();
  kernels_agree();
  parts_cover_each_element_once();
  any_number_of_threads();
  return 0;
}
