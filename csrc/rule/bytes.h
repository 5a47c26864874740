// What of a rule and its recipe passes through code that does not know the rule. Plain data.
#pragma once

#include <cstddef>

namespace fastlr {

constexpr int kMaxStates = 4;
// The rule's, and the decay of the running average.
constexpr int kMaxScheduled = 5;

// What goes around a rule's update, in the order of its work: the gradient is unscaled, clipped by norm and by value;
// after the update the weights are averaged and rounded, and the gradient is zeroed.
struct Recipe {
  double ema_decay;       // below 0: no average
  double max_grad_norm;   // infinite: none
  double max_grad_value;  // infinite: none
  double rounding_seed;   // an integer
  bool norm_per_group;    // else one norm over all groups that have no norm of their own
  bool error_if_nonfinite;
  bool master_weights;  // of 16-bit parameters, in float32
  bool stochastic_rounding;
  bool zero_grad_in_step;
};

// A rule's Hyper as bytes: only the rule's own code knows its members, which RuleInfo::fields names.
struct alignas(8) HyperBytes {
  static constexpr std::size_t kSize = 96;
  unsigned char bytes[kSize];
  Recipe recipe;
};

// A rule's Scalars<float> and Scalars<double>, one behind the other.
struct alignas(8) ScalarsBytes {
  static constexpr std::size_t kHalf = 128;
  ScalarsBytes() {}  // left as it is: written at once
  unsigned char single[kHalf];
  unsigned char exact[kHalf];
};

}  // namespace fastlr
