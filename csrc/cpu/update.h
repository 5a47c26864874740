// A rule's loops over the elements of one tensor: one for each type, each traffic and each form.
#pragma once

#include <cstdint>
#include <cstring>

#include "arch.h"
#include "cpu/kernels.h"
#include "number.h"
#include "rule/power.h"

namespace fastlr {
namespace FASTLR_ARCH {

// As power(), which is asked for the same few again and again.
struct KnownPower {
  PowerMemo& memo;

  double operator()(double base, int64_t exponent) const {
    for (int i = 0; i < memo.kept; ++i) {
      if (memo.base[i] == base && memo.exponent[i] == exponent) return memo.value[i];
    }
    const int at = memo.next;
    memo.next = (at + 1) % PowerMemo::kKept;
    if (memo.kept < PowerMemo::kKept) ++memo.kept;
    memo.base[at] = base;
    memo.exponent[at] = exponent;
    return memo.value[at] = power(base, exponent);
  }
};

template <class Rule>
typename Rule::Hyper hyper_from(const HyperBytes& bytes) {
  typename Rule::Hyper hyper;
  memcpy(&hyper, bytes.bytes, sizeof hyper);
  return hyper;
}

template <class Rule>
void write_scalars(const HyperBytes& bytes, int64_t updates, PowerMemo& powers, ScalarsBytes& out) {
  const typename Rule::Hyper hyper = hyper_from<Rule>(bytes);
  const KnownPower power{powers};
  const auto single = Rule::template scalars<float>(hyper, updates, power);
  const auto exact = Rule::template scalars<double>(hyper, updates, power);
  memcpy(out.single, &single, sizeof single);
  memcpy(out.exact, &exact, sizeof exact);
}

template <class Rule>
void read_scalars(const ScalarsBytes& bytes, typename Rule::template Scalars<float>& out) {
  memcpy(&out, bytes.single, sizeof out);
}
template <class Rule>
void read_scalars(const ScalarsBytes& bytes, typename Rule::template Scalars<double>& out) {
  memcpy(&out, bytes.exact, sizeof out);
}

// T is the stored type. The state's arrays are parameters of their own, since only those can be `restrict`.
template <class Rule, class T, int traffic, int form, class C>
void update_arrays(const typename Rule::template Scalars<C>& s, int64_t size, T* __restrict param,
                   const T* __restrict grad, T* __restrict state0, T* __restrict state1, T* __restrict state2,
                   T* __restrict state3) {
  static_assert(kMaxStates == 4, "an array for each");
  T* const arrays[kMaxStates] = {state0, state1, state2, state3};
  constexpr typename Rule::Form kForm = Rule::form(form);
  for (int64_t i = 0; i < size; ++i) {
    C state[Rule::kStates], p = load(param[i]);
    for (int k = 0; k < Rule::kStates; ++k) state[k] = Rule::reads(traffic, k) ? load(arrays[k][i]) : C(0);
    Rule::template update<traffic>(s, kForm, p, load(grad[i]), state);
    store(p, param[i]);
    for (int k = 0; k < Rule::kStates; ++k) {
      if (Rule::writes(traffic, k)) store(state[k], arrays[k][i]);
    }
  }
}

template <class Rule, class T, int traffic, int form>
void update_span(const ScalarsBytes& bytes, const Span& span) {
  using C = typename Compute<T>::type;
  typename Rule::template Scalars<C> scalars;
  read_scalars<Rule>(bytes, scalars);
  update_arrays<Rule, T, traffic, form, C>(
      scalars, span.size, static_cast<T*>(span.param), static_cast<const T*>(span.grad), static_cast<T*>(span.state[0]),
      static_cast<T*>(span.state[1]), static_cast<T*>(span.state[2]), static_cast<T*>(span.state[3]));
}

// The loop for these, found one by one.
template <class Rule, class T, int traffic, int form>
void update_as(int wanted_traffic, int wanted_form, const ScalarsBytes& scalars, const Span& span) {
  if constexpr (traffic + 1 < Rule::kTraffics) {
    if (wanted_traffic != traffic) {
      return update_as<Rule, T, traffic + 1, form>(wanted_traffic, wanted_form, scalars, span);
    }
  }
  if constexpr (form + 1 < Rule::kForms) {
    if (wanted_form != form) {
      return update_as<Rule, T, traffic, form + 1>(traffic, wanted_form, scalars, span);
    }
  }
  update_span<Rule, T, traffic, form>(scalars, span);
}

template <class Rule, class T>
void update(const HyperBytes& bytes, const ScalarsBytes& scalars, const Span& span) {
  const typename Rule::Hyper hyper = hyper_from<Rule>(bytes);
  update_as<Rule, T, 0, 0>(Rule::traffic(hyper, span.first), Rule::form_index(hyper), scalars, span);
}

template <class Rule>
constexpr RuleKernels rule_kernels() {
  return {write_scalars<Rule>, {update<Rule, float>, update<Rule, double>, update<Rule, Half>, update<Rule, BFloat16>}};
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
