// Every rule, for tests that are the same for all of them: its description, its hyper-parameters, its CPU kernels.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "rule/info.h"
#include "rules/rules.h"

#define EACH_RULE_INFO(name) \
  inline const fastlr::RuleInfo& info_of(fastlr::base::name::Rule) { return fastlr::rule_named(#name); }
FASTLR_RULES(EACH_RULE_INFO)
#undef EACH_RULE_INFO

template <class Action>
void for_each_rule(Action action) {
#define EACH_RULE_CALL(name) action(fastlr::base::name::Rule());
  FASTLR_RULES(EACH_RULE_CALL)
#undef EACH_RULE_CALL
}

// The hyper-parameters that may follow a schedule, in the rule's order.
template <class Rule>
struct ScheduledMembers {
  using Hyper = typename Rule::Hyper;

  ScheduledMembers() { Rule::describe(*this); }
  void scheduled(const char*, double Hyper::* member, const char* = nullptr, int = -1) { all.push_back(member); }
  void number(const char*, double Hyper::*) {}
  void flag(const char*, bool Hyper::*) {}
  void state(const char*) {}

  std::vector<double Hyper::*> all;
};

template <class Rule>
const std::vector<double Rule::Hyper::*>& scheduled_of() {
  static const ScheduledMembers<Rule> members;
  return members.all;
}

// Nothing around the rule's update.
inline fastlr::Recipe no_recipe() {
  fastlr::Recipe recipe{};
  recipe.ema_decay = -1.0;
  recipe.max_grad_norm = recipe.max_grad_value = std::numeric_limits<double>::infinity();
  return recipe;
}

template <class Rule>
fastlr::HyperBytes bytes_of(const typename Rule::Hyper& hyper, const fastlr::Recipe& recipe = no_recipe()) {
  fastlr::HyperBytes bytes{};
  bytes.recipe = recipe;
  std::memcpy(bytes.bytes, &hyper, sizeof hyper);
  return bytes;
}

template <class Rule>
fastlr::ScalarsBytes scalars_of(const fastlr::Kernels& table, const typename Rule::Hyper& hyper, int64_t updates) {
  fastlr::PowerMemo powers{};
  fastlr::ScalarsBytes scalars{};
  table.rules[info_of(Rule()).number].scalars(bytes_of<Rule>(hyper), updates, powers, scalars);
  return scalars;
}

template <class Rule>
void update_with(const fastlr::Kernels& table, const typename Rule::Hyper& hyper, fastlr::DType dtype,
                 const fastlr::Span& span) {
  const fastlr::RuleKernels& rule = table.rules[info_of(Rule()).number];
  rule.update[static_cast<int>(dtype)](bytes_of<Rule>(hyper), scalars_of<Rule>(table, hyper, span.updates), span);
}
