// Stochastic rounding: the generator, what becomes of each value, and that it has no bias.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check_native.h"
#include "recipe_model.h"
#include "rule/rounding.h"

namespace {

using namespace recipe_test;

base::BFloat16 rounded_by(float value, uint32_t random) {
  base::BFloat16 out;
  base::store_stochastic(value, random, out);
  return out;
}

void generator() {
  // splitmix64 from the seed 1234567, as published.
  const uint64_t published[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u};
  uint64_t state = 1234567;
  for (const uint64_t value : published) CHECK(base::mix64(state += 0x9e3779b97f4a7c15u) == value);
  for (int round = 0; round < 10000; ++round) {
    const uint64_t seed = random_bits() >> 11, element = random_bits() >> (random_bits() % 64);
    const auto count = static_cast<int64_t>(random_bits() >> 20);
    const auto place = static_cast<int32_t>(random_bits() >> 40);
    const uint64_t key = base::rounding_key(seed, count, place);
    CHECK(key == key_of(static_cast<double>(seed), count, place));
    CHECK(base::rounding_bits(key, element) == random_of(key, element));
  }
}

void layouts() {
  for (const int64_t rows : {1, 2, 3, 64}) {
    for (const int64_t columns : {1, 2, 5, 640}) {
      const auto order = logical_order(3 * rows * columns, rows, columns);
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto place = static_cast<int64_t>(i);
        CHECK(base::logical_element(place, rows, columns) == order[i]);
      }
    }
  }
  CHECK(base::logical_element((int64_t{1} << 40) + 7, 1, 1) == (uint64_t{1} << 40) + 7);
}

// What can be stored stays as it is; a NaN stays one.
void every_bfloat16() {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float value = base::load(base::BFloat16{static_cast<uint16_t>(bits)});
    for (const uint32_t random : {0u, 1u, 0x8000u, 0xffffu}) {
      const uint16_t out = rounded_by(value, random).bits;
      CHECK(std::isnan(value) ? std::isnan(base::load(base::BFloat16{out})) : out == bits);
    }
  }
  // NaNs whose upper half looks like an infinity.
  for (const uint32_t bits : {0x7f800001u, 0xff80ffffu, 0x7fc00000u}) {
    const float nan = base::float_of(bits);
    CHECK(std::isnan(base::load(rounded_by(nan, 0xffffu))) && std::isnan(base::load(rounded_by(nan, 0u))));
  }
}

// Of all 65536 draws as many go up as there are dropped bits.
void every_draw() {
  for (const float value : {1.00390625f, -1.00390625f, 3.14159f, -1e-30f, 1.5e-39f, 0x1.fep127f, 3.4e38f, -1e-45f}) {
    const double unit = std::ldexp(1.0, std::max(std::ilogb(value), -126) - 7);
    const double below = std::floor(std::fabs(static_cast<double>(value)) / unit) * unit;
    int64_t ups = 0;
    for (uint32_t random = 0; random < 0x10000u; ++random) {
      const double out = std::fabs(base::load(rounded_by(value, random)));
      const double above = below + unit < 0x1p128 ? below + unit : kInfinity;
      CHECK(out == below || out == above);
      CHECK(std::signbit(base::load(rounded_by(value, random))) == std::signbit(value));
      ups += out == above ? 1 : 0;
    }
    CHECK(static_cast<double>(ups) == (std::fabs(static_cast<double>(value)) - below) / unit * 65536.0);
  }
}

// The bits of elements, steps, places and seeds next to each other: fair, and independent of each other, to within five
// standard deviations.
void no_bias() {
  constexpr int kDraws = 1 << 20;
  const double tolerance = 5.0 * std::sqrt(0.25 * kDraws);
  for (const int varied : {0, 1, 2, 3}) {
    std::vector<int64_t> ones(16), alike(16);
    double sum = 0.0;
    uint32_t last = 0;
    for (int i = 0; i < kDraws; ++i) {
      const auto of = [&](int which) { return varied == which ? i : 3; };
      const uint64_t key = base::rounding_key(static_cast<uint64_t>(of(0)), of(1), of(2));
      const uint32_t random = base::rounding_bits(key, static_cast<uint64_t>(of(3)));
      CHECK(random < 0x10000u);
      for (std::size_t bit = 0; bit < 16; ++bit) {
        ones[bit] += random >> bit & 1u;
        alike[bit] += (random ^ last) >> bit & 1u;
      }
      sum += random;
      last = random;
    }
    for (std::size_t bit = 0; bit < 16; ++bit) {
      CHECK(std::fabs(static_cast<double>(ones[bit]) - 0.5 * kDraws) < tolerance);
      CHECK(std::fabs(static_cast<double>(alike[bit]) - 0.5 * kDraws) < tolerance);
    }
    CHECK(std::fabs(sum / kDraws - 32767.5) < 5.0 * 65536.0 / std::sqrt(12.0 * kDraws));
  }
}

// Steps far below half a unit: nearest rounding would stand still, these arrive on average.
void small_steps_add_up() {
  constexpr int kSteps = 256, kElements = 4096;
  const double step = 0x1p-12;  // a unit is 2^-7
  double sum = 0.0;
  for (uint64_t element = 0; element < kElements; ++element) {
    base::BFloat16 weight{0x3f80};
    for (int count = 0; count < kSteps; ++count) {
      const uint64_t key = base::rounding_key(1, count, 0);
      weight = rounded_by(base::load(weight) + static_cast<float>(step), base::rounding_bits(key, element));
    }
    sum += base::load(weight) - 1.0f;
  }
  const double deviation = std::sqrt(kSteps * (1.0 / 32.0) * (31.0 / 32.0)) * 0x1p-7 / std::sqrt(1.0 * kElements);
  CHECK(std::fabs(sum / kElements - kSteps * step) < 5.0 * deviation);
}

}  // namespace

int main() {
  generator();
  layouts();
  every_bfloat16();
  every_draw();
  no_bias();
  small_steps_add_up();
  return 0;
}
