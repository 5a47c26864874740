// Each rule's update of one element in float64, from its formula, and the hyper-parameters to try it with: every form
// and traffic.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "each_rule.h"

namespace formulas {

using Adam = fastlr::base::adam::Rule;
using Lion = fastlr::base::lion::Rule;
using Sgd = fastlr::base::sgd::Rule;

struct Element {
  double param, grad;
  double state[fastlr::kMaxStates];
};

// What a rule makes of the gradient, with the decay that it adds; the other kind goes to the parameter.
template <class Hyper>
double decayed(const Hyper& h, Element& e) {
  const double x = h.maximize ? -e.grad : e.grad;
  if (!h.decoupled) return x + h.weight_decay * e.param;
  e.param *= 1 - h.lr * h.weight_decay;
  return x;
}

// Updates `e`. Returns what the roundings of its members are relative to.
inline double update(const Sgd::Hyper& h, int64_t updates, Element& e) {
  const double before = 1 + std::fabs(e.param) + std::fabs(e.grad);
  const double x = decayed(h, e);
  double& buffer = e.state[0];
  if (h.momentum != 0) buffer = updates == 0 ? x : h.momentum * buffer + (1 - h.dampening) * x;
  e.param -= h.lr * (h.momentum == 0 ? x : h.nesterov ? x + h.momentum * buffer : buffer);
  return before + std::fabs(buffer);
}

inline double update(const Adam::Hyper& h, int64_t updates, Element& e) {
  const double n = static_cast<double>(updates) + 1;
  const double x = decayed(h, e);
  const double size = std::fabs(x) + std::fabs(e.state[0]);
  e.state[0] = h.beta1 * e.state[0] + (1 - h.beta1) * x;
  e.state[1] = h.beta2 * e.state[1] + (1 - h.beta2) * x * x;
  if (h.amsgrad) e.state[2] = std::fmax(e.state[2], e.state[1]);
  const double square = e.state[h.amsgrad ? 2 : 1];
  const double denominator = std::sqrt(square / (1 - std::pow(h.beta2, n))) + h.eps;
  const double factor = h.lr / (1 - std::pow(h.beta1, n)) / denominator;
  const double before = 1 + std::fabs(e.param) + size + x * x + e.state[2] + e.state[1];
  e.param -= factor * e.state[0];
  return before + factor * size;
}

inline double update(const Lion::Hyper& h, int64_t, Element& e) {
  const double x = h.maximize ? -e.grad : e.grad, m = e.state[0];
  const double size = std::fabs(x) + std::fabs(m);
  const double mixed = h.beta1 * m + (1 - h.beta1) * x;
  e.param = e.param * (1 - h.lr * h.weight_decay) - h.lr * ((mixed > 0) - (mixed < 0));
  e.state[0] = h.beta2 * m + (1 - h.beta2) * x;
  // A sign that roundings decide is anybody's.
  return std::fabs(mixed) < 1e-6 * size ? 1e9 : 1 + std::fabs(e.param) + size;
}

inline std::vector<Sgd::Hyper> cases_of(Sgd) {
  std::vector<Sgd::Hyper> all;
  for (int flags = 0; flags < 64; ++flags) {
    const double momentum = (flags & 1) != 0 ? 0.9 : 0.0, dampening = (flags & 2) != 0 ? 0.3 : 0.0;
    const double decay = (flags & 4) != 0 ? 0.01 : 0.0;
    all.push_back({0.1, momentum, dampening, decay, (flags & 8) != 0, (flags & 16) != 0, (flags & 32) != 0});
  }
  return all;
}

inline std::vector<Adam::Hyper> cases_of(Adam) {
  std::vector<Adam::Hyper> all;
  for (int flags = 0; flags < 32; ++flags) {
    const double beta1 = (flags & 1) != 0 ? 0.9 : 0.3, beta2 = (flags & 1) != 0 ? 0.999 : 0.5;
    const double eps = (flags & 1) != 0 ? 1e-8 : 0.1, decay = (flags & 2) != 0 ? 0.1 : 0.0;
    all.push_back({0.1, beta1, beta2, eps, decay, (flags & 4) != 0, (flags & 8) != 0, (flags & 16) != 0});
  }
  return all;
}

inline std::vector<Lion::Hyper> cases_of(Lion) {
  std::vector<Lion::Hyper> all;
  for (int flags = 0; flags < 8; ++flags) {
    const double beta1 = (flags & 1) != 0 ? 0.9 : 0.5, beta2 = (flags & 1) != 0 ? 0.99 : 0.3;
    all.push_back({0.1, beta1, beta2, (flags & 2) != 0 ? 0.1 : 0.0, (flags & 4) != 0});
  }
  return all;
}

}  // namespace formulas
