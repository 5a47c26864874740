// Hyper-parameters of each rule as double and bool: plain data that every instruction set shares.
#pragma once

namespace fastlr {

struct SgdHyper {
  double lr;
  double momentum;
  double dampening;
  double weight_decay;
  bool nesterov;
  bool maximize;
};

// The same, rounded once from double to the type of the arithmetic.
template <class C>
struct SgdScalars {
  C step_size;  // -lr
  C momentum;
  C gradient_weight;  // 1 - dampening
  C weight_decay;
  C direction;  // -1 to maximize, which only flips the gradient's sign
};

}  // namespace fastlr
