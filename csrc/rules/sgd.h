// The one place with SGD arithmetic. In float32 and float64 the operations, their order and their roundings are those
// of torch.optim.SGD(foreach=False), whose vectorised add and mul contract to fused multiply-adds.
#pragma once

#include <cmath>
#include <cstdint>

#include "arch.h"
#include "host_device.h"
#include "rules/hyper.h"
#include "rules/number.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace sgd {

template <class C>
FASTLR_HD inline SgdScalars<C> scalars(const SgdHyper& hyper) {
  return {static_cast<C>(-hyper.lr), static_cast<C>(hyper.momentum), static_cast<C>(1.0 - hyper.dampening),
          static_cast<C>(hyper.weight_decay), static_cast<C>(hyper.maximize ? -1 : 1)};
}

// What stays the same for a whole tensor; a template argument, so that the loop over its elements has no branch.
enum class Momentum { off, first, later };

template <class C>
struct Updated {
  C param;
  C buffer;
};

// What else is the same for a whole tensor: constants on the CPU, predicates on the device.
struct Form {
  bool nesterov;
  bool decay;
};

template <Momentum momentum, class C>
FASTLR_HD inline Updated<C> update(const SgdScalars<C>& s, const Form& form, C param, C grad, C buffer) {
  using std::fma;
  C x = s.direction * grad;
  const C decayed = fma(param, s.weight_decay, x);
  x = form.decay ? decayed : x;
  if (momentum != Momentum::off) {
    buffer = momentum == Momentum::first ? x : fma(x, s.gradient_weight, s.momentum * buffer);
    const C ahead = fma(buffer, s.momentum, x);
    x = form.nesterov ? ahead : buffer;
  }
  return {fma(x, s.step_size, param), buffer};
}

// Elements [0, size) of one tensor. T is the stored type.
template <class T, Momentum momentum, bool nesterov, bool decay>
inline void update_range(const SgdHyper& hyper, T* __restrict param, const T* __restrict grad, T* __restrict buffer,
                         int64_t size) {
  using C = typename Compute<T>::type;
  const SgdScalars<C> s = scalars<C>(hyper);
  for (int64_t i = 0; i < size; ++i) {
    const C old = momentum == Momentum::later ? load(buffer[i]) : C(0);
    const Updated<C> now = update<momentum, C>(s, {nesterov, decay}, load(param[i]), load(grad[i]), old);
    store(now.param, param[i]);
    if (momentum != Momentum::off) store(now.buffer, buffer[i]);
  }
}

}  // namespace sgd
}  // namespace FASTLR_ARCH
}  // namespace fastlr
