// power() against recorded exact results, and against the wider long double of the C library.
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "check_native.h"
#include "rule/power.h"

namespace {

using fastlr::FASTLR_ARCH::power;
using fastlr::FASTLR_ARCH::schedule::bits_of;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTiny = std::numeric_limits<double>::denorm_min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

struct Case {
  double base;
  int64_t exponent;
  double want;
};

// Recorded with mpmath: the exact power at 400 bits, rounded once to double.
const Case kCases[] = {
    // The ends of both ranges.
    {0.0, 0, 1.0},
    {0.0, 1, 0.0},
    {0.0, 2, 0.0},
    {0.0, kMost, 0.0},
    {1.0, 0, 1.0},
    {1.0, kMost, 1.0},
    {0.3, 0, 1.0},
    {0.3, 1, 0.3},
    {kTiny, 1, kTiny},
    {kTiny, 2, 0.0},
    {0.5, 2, 0.25},
    {0.5, 1022, 0x1p-1022},
    {0.5, 1074, kTiny},
    {0.5, 1075, 0.0},
    {0x1.0000000000001p-1, 1075, kTiny},
    {0.5, kMost, 0.0},
    {2.0, 1023, 0x1p1023},
    {2.0, 1024, kInfinity},
    {1e200, 2, kInfinity},
    {1e308, kMost, kInfinity},
    {1.5, kMost, kInfinity},
    {kInfinity, 3, kInfinity},
    {1e-200, 2, 0.0},
    {1e-161, 2, 1e-322},
    // Usual decay rates.
    {0.8, 3, 0x1.0624dd2f1a9fdp-1},
    {0.8, 100, 0x1.bff2ee48e055cp-33},
    {0.9, 2, 0.81},
    {0.9, 10, 0x1.650bf60432fd9p-2},
    {0.9, 1000, 0x1.fee7413dac341p-153},
    {0.9, 12345, 0.0},
    {0.98, 10, 0x1.a2575df010dd1p-1},
    {0.98, 12345, 0x1.23b44ce0a847fp-360},
    {0.999, 2, 0.998001},
    {0.999, 3, 0x1.fe772d5570166p-1},
    {0.999, 1000, 0x1.788526411ed72p-2},
    {0.999999, 12345, 0x1.f9b7dcacbd701p-1},
    // Hardly off the middle of two doubles: by 2^-12 to 2^-22 of their distance.
    {0.8, 1651, 0x1.69372057c6eb7p-532},
    {0.9, 4188, 0x1.5463d4136957bp-637},
    {0.95, 4234, 0x1.9a95d63d97c12p-314},
    {0.98, 17496, 0x1.0a0bfc4c4299p-510},
    {0.98, 20255, 0x1.8f2516571fd9cp-591},
    {0.99, 28913, 0x1.b5be4b41d798cp-420},
    {0.995, 16120, 0x1.58333e44bfef4p-117},
    {0.995, 45886, 0x1.207515877645bp-332},
    {0.999, 26725, 0x1.579f923643c0ap-39},
    {0.999, 50537, 0x1.09c575b3d0518p-73},
    {0.9999, 37479, 0x1.820d6a4f1ba36p-6},
    {0.9999, 39960, 0x1.2d39d92e2deb9p-6},
    {0.99999, 37114, 0x1.61409c371b74cp-1},
    {0.999999, 7577, 0x1.fc229eb5c37c4p-1},
    {0.999999, 20326, 0x1.f5b2b9000903bp-1},
    // The same with so many factors that two doubles for the power itself are not enough.
    {0x1.fffffffd1dda2p-1, 1424999180586, 0x1.e29eaf7e4d2cfp-691},
    {0x1.ffffffffde70ap-1, 9459896756270, 0x1.a4cd80c9edd47p-209},
    {0x1.fffffffffc22dp-1, 43200887151900, 0x1.6624534749501p-110},
    // Subnormal, the first two in the middle of two.
    {0x1.8p-214, 5, 122 * kTiny},
    {0x1.4p-213, 5, 1562 * kTiny},
    {0.8, 3176, 0x0.bc3b7a0aa3a83p-1022},
    {0.8, 3262, 0x0.0000000ea07e1p-1022},
    {0.9, 6735, 0x0.4c9825d9e01f6p-1022},
    {0.9, 7065, kTiny},
    {0.99, 70506, 0x0.cefa918386ae3p-1022},
    {0.999, 727441, 0x0.0000000ffe43fp-1022},
    // Near 1, where many factors make a difference.
    {0x1.fffffffffffffp-1, 2, 0x1.ffffffffffffep-1},
    {0x1.fffffffffffffp-1, int64_t{1} << 40, 0x1.fff0003fff555p-1},
    {0x1.fffffffffffffp-1, int64_t{1} << 53, 0x1.78b56362cef37p-2},
    {0x1.fffffffffffffp-1, int64_t{1} << 62, 0x1.44109edb2088fp-739},
    {0x1.fffffffffffffp-1, kMost, 0.0},
    {0x1.fffffffcp-1, int64_t{1} << 40, 0x1.44109c52ff57ep-739},
    {0x1.0000000000001p+0, int64_t{1} << 52, 0x1.5bf0a8b145769p+1},
    {1.5, 1000, 0x1.f2dd011353699p+584},
};

void test_recorded() {
  for (const Case& c : kCases) CHECK(bits_of(power(c.base, c.exponent)) == bits_of(c.want));
  CHECK(std::isnan(power(std::numeric_limits<double>::quiet_NaN(), 3)));
}

// Half a unit of the last place, and what long double itself may be off.
void check_rounded(double base, int64_t exponent) {
  const double got = power(base, exponent);
  const long double want = powl(base, static_cast<long double>(exponent));
  const long double unit = std::nextafter(got, kInfinity) - got;
  CHECK(fabsl(got - want) <= 0.505L * unit);
}

void test_against_long_double() {
  std::mt19937_64 random(20);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  for (int i = 0; i < 100000; ++i) {
    // Powers from about 1 down past the smallest double, of bases from 1 - 2^-52 down to almost 0.
    const double base = 1.0 - (1.0 - uniform(random)) * std::exp2(-static_cast<int>(random() % 53));
    if (base == 0.0 || base == 1.0) continue;
    const double longest = -800.0 / std::log(base);
    check_rounded(base, static_cast<int64_t>(longest * std::exp2(-20.0 * uniform(random))));
  }
}

}  // namespace

int main() {
  test_recorded();
#if LDBL_MANT_DIG >= 64
  test_against_long_double();
#endif
  return 0;
}
