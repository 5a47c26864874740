// Lion (Chen et al. 2023, Symbolic Discovery of Optimization Algorithms). In float32 and float64 the operations, their
// order and their roundings are those of torch's mul_, add_ and sign_ one after another, whose vectorised add with a
// factor contracts to fused multiply-adds.
#pragma once

#include <cmath>
#include <cstdint>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace lion {

struct Hyper {
  double lr;
  double beta1;
  double beta2;
  double weight_decay;
  bool maximize;
};

template <class C>
struct Scalars {
  C direction;  // -1 to maximize, which only flips the gradient's sign
  C kept;       // the factor of the parameter: 1 - lr * weight_decay
  C step_size;  // -lr
  C beta1;
  C mixed_weight;  // 1 - beta1
  C beta2;
  C average_weight;  // 1 - beta2
};

struct Rule {
  using Hyper = lion::Hyper;
  template <class C>
  using Scalars = lion::Scalars<C>;

  static constexpr int kStates = 1;
  static constexpr bool kCounts = false;
  static constexpr bool kWritesFirst = false;

  template <class Visit>
  static void describe(Visit& visit) {
    visit.scheduled("lr", &Hyper::lr);
    visit.scheduled("beta1", &Hyper::beta1, "betas", 0);
    visit.scheduled("beta2", &Hyper::beta2, "betas", 1);
    visit.scheduled("weight_decay", &Hyper::weight_decay);
    visit.flag("maximize", &Hyper::maximize);
    visit.state("exp_avg");
  }

  static constexpr int kTraffics = 1;
  static FASTLR_HD int traffic(const Hyper&, bool) { return 0; }
  static FASTLR_HD constexpr bool reads(int, int) { return true; }
  static FASTLR_HD constexpr bool writes(int, int) { return true; }

  struct Form {};
  static constexpr int kForms = 1;
  static FASTLR_HD int form_index(const Hyper&) { return 0; }
  static FASTLR_HD constexpr Form form(int) { return {}; }

  template <class C, class Power>
  static FASTLR_HD Scalars<C> scalars(const Hyper& hyper, int64_t, const Power&) {
    return {static_cast<C>(hyper.maximize ? -1 : 1),
            static_cast<C>(hyper.weight_decay != 0.0 ? 1.0 - hyper.lr * hyper.weight_decay : 1.0),
            static_cast<C>(-hyper.lr),
            static_cast<C>(hyper.beta1),
            static_cast<C>(1.0 - hyper.beta1),
            static_cast<C>(hyper.beta2),
            static_cast<C>(1.0 - hyper.beta2)};
  }

  template <int traffic, class C>
  static FASTLR_HD void update(const Scalars<C>& s, const Form&, C& param, C grad, C (&state)[kStates]) {
    using std::fma;
    const C x = s.direction * grad;
    const C mixed = fma(x, s.mixed_weight, s.beta1 * state[0]);
    state[0] = fma(x, s.average_weight, s.beta2 * state[0]);
    // The sign of -0 is +0, that of a NaN a NaN.
    const C rise = mixed < C(0) ? C(-1) : mixed - mixed;
    const C sign = mixed > C(0) ? C(1) : rise;
    param = fma(sign, s.step_size, s.kept * param);
  }
};

}  // namespace lion
}  // namespace FASTLR_ARCH
}  // namespace fastlr
