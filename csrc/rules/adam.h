// Adam, and AdamW with its decoupled decay. In float32 and float64 the operations, their order and their roundings are
// those of torch.optim.Adam(foreach=False), whose vectorised kernels contract to fused multiply-adds; square roots and
// powers are the correctly rounded ones.
#pragma once

#include <cmath>
#include <cstdint>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace adam {

struct Hyper {
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  bool amsgrad;
  bool maximize;
  bool decoupled;
};

template <class C>
struct Scalars {
  C direction;     // -1 to maximize, which only flips the gradient's sign
  C weight_decay;  // what is added to the gradient
  C kept;          // the factor of the parameter: 1 - lr * weight_decay if decoupled, else 1
  C from_grad;     // 1: the average starts from the gradient, as torch's lerp does from a weight of 1/2 on
  C average_weight;
  C beta2;
  C square_weight;  // 1 - beta2
  C correction;     // sqrt(1 - beta2^n)
  C eps;
  C step_size;  // -lr / (1 - beta1^n)
};

struct Rule {
  using Hyper = adam::Hyper;
  template <class C>
  using Scalars = adam::Scalars<C>;

  static constexpr int kStates = 3;
  static constexpr bool kCounts = true;
  static constexpr bool kWritesFirst = false;

  template <class Visit>
  static void describe(Visit& visit) {
    visit.scheduled("lr", &Hyper::lr);
    visit.scheduled("beta1", &Hyper::beta1, "betas", 0);
    visit.scheduled("beta2", &Hyper::beta2, "betas", 1);
    visit.scheduled("weight_decay", &Hyper::weight_decay);
    visit.number("eps", &Hyper::eps);
    visit.flag("amsgrad", &Hyper::amsgrad);
    visit.flag("maximize", &Hyper::maximize);
    visit.flag("decoupled_weight_decay", &Hyper::decoupled);
    visit.state("exp_avg");
    visit.state("exp_avg_sq");
    visit.state("max_exp_avg_sq");
  }

  enum Traffic : int { kPlain, kAmsgrad, kTraffics };
  static FASTLR_HD int traffic(const Hyper& hyper, bool) { return hyper.amsgrad ? kAmsgrad : kPlain; }
  static FASTLR_HD constexpr bool reads(int traffic, int state) { return traffic == kAmsgrad || state < 2; }
  static FASTLR_HD constexpr bool writes(int traffic, int state) { return reads(traffic, state); }

  struct Form {
    bool coupled;
  };
  static constexpr int kForms = 2;
  static FASTLR_HD int form_index(const Hyper& hyper) { return hyper.weight_decay != 0.0 && !hyper.decoupled ? 1 : 0; }
  static FASTLR_HD constexpr Form form(int index) { return {index != 0}; }

  template <class C, class Power>
  static FASTLR_HD Scalars<C> scalars(const Hyper& hyper, int64_t updates, const Power& power) {
    using std::sqrt;
    const int64_t n = updates + 1;
    const C weight = static_cast<C>(1.0 - hyper.beta1);
    const bool from_grad = weight >= C(0.5);
    const bool decays = hyper.decoupled && hyper.weight_decay != 0.0;
    return {static_cast<C>(hyper.maximize ? -1 : 1),
            static_cast<C>(hyper.weight_decay),
            static_cast<C>(decays ? 1.0 - hyper.lr * hyper.weight_decay : 1.0),
            static_cast<C>(from_grad ? 1 : 0),
            from_grad ? weight - C(1) : weight,
            static_cast<C>(hyper.beta2),
            static_cast<C>(1.0 - hyper.beta2),
            static_cast<C>(sqrt(1.0 - power(hyper.beta2, n))),
            static_cast<C>(hyper.eps),
            static_cast<C>(-(hyper.lr / (1.0 - power(hyper.beta1, n))))};
  }

  template <int traffic, class C>
  static FASTLR_HD void update(const Scalars<C>& s, const Form& form, C& param, C grad, C (&state)[kStates]) {
    using std::fma;
    using std::sqrt;
    C x = s.direction * grad;
    const C decayed = fma(param, s.weight_decay, x);
    x = form.coupled ? decayed : x;
    state[0] = fma(s.average_weight, x - state[0], s.from_grad != C(0) ? x : state[0]);
    state[1] = fma(s.square_weight * x, x, s.beta2 * state[1]);
    C square = state[1];
    if (traffic == kAmsgrad) {
      // As torch.maximum: a NaN on either side stays.
      const C larger = state[2] < square ? square : state[2];
      state[2] = square != square ? square : larger;
      square = state[2];
    }
    const C denominator = sqrt(square) / s.correction + s.eps;
    param = s.kept * param + s.step_size * state[0] / denominator;
  }
};

}  // namespace adam
}  // namespace FASTLR_ARCH
}  // namespace fastlr
