#include "rule/info.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "check.h"
#include "rules/rules.h"

namespace fastlr {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class Rule>
class Description {
 public:
  explicit Description(RuleInfo& info) : info_(info) {}

  void scheduled(const char* name, double Rule::Hyper::* member, const char* entry = nullptr, int index = -1) {
    add(name, entry, index, Field::Kind::scheduled, member);
  }
  void number(const char* name, double Rule::Hyper::* member, const char* entry = nullptr, int index = -1) {
    add(name, entry, index, Field::Kind::number, member);
  }
  void flag(const char* name, bool Rule::Hyper::* member) { add(name, nullptr, -1, Field::Kind::flag, member); }
  void state(const char* name) { info_.states.emplace_back(name); }

 private:
  template <class T>
  void add(const char* name, const char* entry, int index, Field::Kind kind, T Rule::Hyper::* member) {
    const typename Rule::Hyper hyper{};
    const auto offset = reinterpret_cast<const char*>(&(hyper.*member)) - reinterpret_cast<const char*>(&hyper);
    info_.fields.push_back({name, entry == nullptr ? name : entry, index, kind, static_cast<std::size_t>(offset),
                            std::nan(""), -kInf, kInf});
  }

  RuleInfo& info_;
};

// Entries of every group, whatever its rule.
void add_recipe(std::vector<Field>& fields) {
  using Kind = Field::Kind;
  constexpr std::size_t kAt = offsetof(HyperBytes, recipe);
  constexpr double kAboveZero = std::numeric_limits<double>::denorm_min();
  constexpr double kFinite = std::numeric_limits<double>::max();
  constexpr double kLastSeed = 0x1p53 - 1;
  const auto add = [&fields](const char* name, Kind kind, std::size_t offset, double absent = std::nan(""),
                             double low = -kInf, double high = kInf) {
    fields.push_back({name, name, -1, kind, kAt + offset, absent, low, high});
  };
  add("ema_decay", Kind::scheduled, offsetof(Recipe, ema_decay), -1.0, 0.0, 1.0);
  add("max_grad_norm", Kind::number, offsetof(Recipe, max_grad_norm), kInf, kAboveZero, kFinite);
  add("max_grad_value", Kind::number, offsetof(Recipe, max_grad_value), kInf, kAboveZero, kFinite);
  add("rounding_seed", Kind::integer, offsetof(Recipe, rounding_seed), std::nan(""), 0.0, kLastSeed);
  add("norm_per_group", Kind::flag, offsetof(Recipe, norm_per_group));
  add("error_if_nonfinite", Kind::flag, offsetof(Recipe, error_if_nonfinite));
  add("master_weights", Kind::flag, offsetof(Recipe, master_weights));
  add("stochastic_rounding", Kind::flag, offsetof(Recipe, stochastic_rounding));
  add("zero_grad_in_step", Kind::flag, offsetof(Recipe, zero_grad_in_step));
}

template <class Rule>
bool writes(const HyperBytes& bytes, int state) {
  typename Rule::Hyper hyper;
  std::memcpy(&hyper, bytes.bytes, sizeof hyper);
  return Rule::writes(Rule::traffic(hyper, false), state);
}

// What a rule says of itself at run time.
void check(const RuleInfo& info, int states) {
  const auto scheduled = std::count_if(info.fields.begin(), info.fields.end(),
                                       [](const Field& field) { return field.kind == Field::Kind::scheduled; });
  const bool rate_first = !info.fields.empty() && info.fields.front().kind == Field::Kind::scheduled;
  if (!rate_first || scheduled >= kMaxScheduled) {
    raise(ErrorKind::runtime, "A rule describes its scheduled hyper-parameters wrongly", info.name,
          "Begin with the learning rate, and schedule at most " + std::to_string(kMaxScheduled - 1) + ".");
  }
  if (info.states.size() != static_cast<std::size_t>(states)) {
    raise(ErrorKind::runtime, "A rule names other states than it has", info.name, "Name each of its kStates.");
  }
}

template <class Rule>
RuleInfo describe(const char* name) {
  using Hyper = typename Rule::Hyper;
  static_assert(sizeof(Hyper) <= HyperBytes::kSize, "too many hyper-parameters");
  static_assert(sizeof(typename Rule::template Scalars<double>) <= ScalarsBytes::kHalf, "too many scalars");
  static_assert(Rule::kStates <= kMaxStates, "too much state");
  RuleInfo info{name, 0, {}, {}, Rule::kCounts, Rule::kWritesFirst, writes<Rule>};
  Description<Rule> description(info);
  Rule::describe(description);
  check(info, Rule::kStates);
  add_recipe(info.fields);
  return info;
}

std::vector<RuleInfo> describe_all() {
  std::vector<RuleInfo> all;
#define FASTLR_DESCRIBE(name) all.push_back(describe<FASTLR_ARCH::name::Rule>(#name));
  FASTLR_RULES(FASTLR_DESCRIBE)
#undef FASTLR_DESCRIBE
  for (std::size_t i = 0; i < all.size(); ++i) all[i].number = static_cast<int>(i);
  return all;
}

}  // namespace

void Field::write(HyperBytes& hyper, double value) const {
  unsigned char* at = reinterpret_cast<unsigned char*>(&hyper) + offset;
  if (kind == Kind::flag) {
    *at = value != 0.0 ? 1 : 0;
  } else {
    std::memcpy(at, &value, sizeof value);
  }
}

bool Field::takes(double value) const {
  return value >= low && value <= high && (kind != Kind::integer || value == std::floor(value));
}

double Field::read(const HyperBytes& hyper) const {
  const unsigned char* at = reinterpret_cast<const unsigned char*>(&hyper) + offset;
  if (kind == Kind::flag) return *at;
  double value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

const std::vector<RuleInfo>& rules() {
  static const std::vector<RuleInfo> all = describe_all();
  return all;
}

const RuleInfo& rule_named(const std::string& name) {
  std::string known;
  for (const RuleInfo& rule : rules()) {
    if (rule.name == name) return rule;
    known += (known.empty() ? "" : ", ") + rule.name;
  }
  raise(ErrorKind::value, "No such rule", name, "Use one of: " + known + ".");
}

}  // namespace fastlr
