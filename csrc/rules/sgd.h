// Stochastic gradient descent. In float32 and float64 the operations, their order and their roundings are those of
// torch.optim.SGD(foreach=False), whose vectorised add and mul contract to fused multiply-adds; decoupled decay is a
// multiplication before them.
#pragma once

#include <cmath>
#include <cstdint>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace sgd {

struct Hyper {
  double lr;
  double momentum;
  double dampening;
  double weight_decay;
  bool nesterov;
  bool maximize;
  bool decoupled;
};

template <class C>
struct Scalars {
  C step_size;  // -lr
  C momentum;
  C gradient_weight;  // 1 - dampening
  C weight_decay;     // what is added to the gradient
  C kept;             // the factor of the parameter: 1 - lr * weight_decay if decoupled, else 1
  C direction;        // -1 to maximize, which only flips the gradient's sign
};

struct Rule {
  using Hyper = sgd::Hyper;
  template <class C>
  using Scalars = sgd::Scalars<C>;

  static constexpr int kStates = 1;
  static constexpr bool kCounts = false;
  static constexpr bool kWritesFirst = true;

  template <class Visit>
  static void describe(Visit& visit) {
    visit.scheduled("lr", &Hyper::lr);
    visit.scheduled("momentum", &Hyper::momentum);
    visit.scheduled("weight_decay", &Hyper::weight_decay);
    visit.number("dampening", &Hyper::dampening);
    visit.flag("nesterov", &Hyper::nesterov);
    visit.flag("maximize", &Hyper::maximize);
    visit.flag("decoupled_weight_decay", &Hyper::decoupled);
    visit.state("momentum_buffer");
  }

  enum Traffic : int { kWithout, kFirst, kLater, kTraffics };
  static FASTLR_HD int traffic(const Hyper& hyper, bool first) {
    return hyper.momentum == 0.0 ? kWithout : first ? kFirst : kLater;
  }
  static FASTLR_HD constexpr bool reads(int traffic, int) { return traffic == kLater; }
  static FASTLR_HD constexpr bool writes(int traffic, int) { return traffic != kWithout; }

  struct Form {
    bool nesterov;
    bool decay;
  };
  static constexpr int kForms = 4;
  static FASTLR_HD int form_index(const Hyper& hyper) {
    return (hyper.nesterov ? 1 : 0) + (hyper.weight_decay != 0.0 && !hyper.decoupled ? 2 : 0);
  }
  static FASTLR_HD constexpr Form form(int index) { return {index % 2 != 0, index / 2 != 0}; }

  template <class C, class Power>
  static FASTLR_HD Scalars<C> scalars(const Hyper& hyper, int64_t, const Power&) {
    const bool decays = hyper.decoupled && hyper.weight_decay != 0.0;
    return {static_cast<C>(-hyper.lr),
            static_cast<C>(hyper.momentum),
            static_cast<C>(1.0 - hyper.dampening),
            static_cast<C>(hyper.weight_decay),
            static_cast<C>(decays ? 1.0 - hyper.lr * hyper.weight_decay : 1.0),
            static_cast<C>(hyper.maximize ? -1 : 1)};
  }

  template <int traffic, class C>
  static FASTLR_HD void update(const Scalars<C>& s, const Form& form, C& param, C grad, C (&state)[kStates]) {
    using std::fma;
    C x = s.direction * grad;
    const C decayed = fma(param, s.weight_decay, x);
    x = form.decay ? decayed : x;
    if (traffic != kWithout) {
      state[0] = traffic == kFirst ? x : fma(x, s.gradient_weight, s.momentum * state[0]);
      const C ahead = fma(state[0], s.momentum, x);
      x = form.nesterov ? ahead : state[0];
    }
    param = fma(x, s.step_size, s.kept * param);
  }
};

}  // namespace sgd
}  // namespace FASTLR_ARCH
}  // namespace fastlr
