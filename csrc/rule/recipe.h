// The arithmetic around a rule's update, on host and device.
#pragma once

#include <cmath>

#include "arch.h"
#include "host_device.h"
#include "rule/bytes.h"

namespace fastlr {
namespace FASTLR_ARCH {

// What a gradient is multiplied by: unscaled, and clipped where its norm, unscaled too, is above the recipe's.
FASTLR_HD inline double gradient_factor(const Recipe& recipe, double inverse_scale, double norm) {
  const double coefficient = recipe.max_grad_norm / (norm + 1e-6);
  return coefficient < 1.0 ? inverse_scale * coefficient : inverse_scale;
}

template <class C>
struct RecipeScalars {
  C factor;          // of the gradient
  C limit;           // of its magnitude, after that
  C average_weight;  // of what torch's lerp adds to one of its ends
  C from_weights;    // 1: to the weights, as from a weight of 1/2 on
};

template <class C>
FASTLR_HD inline RecipeScalars<C> recipe_scalars(const Recipe& recipe, double factor) {
  const C weight = static_cast<C>(1.0 - recipe.ema_decay);
  const bool from_weights = weight >= C(0.5);
  return {static_cast<C>(factor), static_cast<C>(recipe.max_grad_value), from_weights ? weight - C(1) : weight,
          static_cast<C>(from_weights ? 1 : 0)};
}

// As torch.clamp: a NaN stays.
template <class C>
FASTLR_HD inline C prepared_gradient(const RecipeScalars<C>& s, C grad) {
  const C x = s.factor * grad;
  const C not_above = x > s.limit ? s.limit : x;
  return not_above < -s.limit ? -s.limit : not_above;
}

template <class C>
FASTLR_HD inline C averaged(const RecipeScalars<C>& s, C average, C weights) {
  using std::fma;
  return fma(s.average_weight, weights - average, s.from_weights != C(0) ? weights : average);
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
