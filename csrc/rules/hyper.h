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

}  // namespace fastlr
