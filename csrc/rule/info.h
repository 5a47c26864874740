// What the host knows of a rule: the names of what it reads and keeps, and where its hyper-parameters stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rule/bytes.h"

namespace fastlr {

// A hyper-parameter: an entry of the parameter group, or an element of one that is a tuple.
struct Field {
  enum class Kind { scheduled, number, integer, flag };

  std::string name;
  std::string entry;
  int index;  // in the tuple; -1: the entry itself
  Kind kind;
  std::size_t offset;  // in HyperBytes
  double absent;       // what None stands for; NaN where a number has to be there
  double low, high;    // what may be written into a group, both included

  bool takes(double value) const;

  void write(HyperBytes& hyper, double value) const;
  double read(const HyperBytes& hyper) const;
};

struct RuleInfo {
  std::string name;
  int number;                                          // its place among all rules
  std::vector<Field> fields;                           // the learning rate is the first; the recipe's are the last
  std::vector<std::string> states;                     // the entries of a parameter's state that are shaped like it
  bool counts;                                         // state holds "step", too: each parameter's number of updates
  bool writes_first;                                   // a parameter's first update writes its state without reading it
  bool (*writes)(const HyperBytes& hyper, int state);  // an update changes that state
};

const std::vector<RuleInfo>& rules();
// Raises on an unknown name.
const RuleInfo& rule_named(const std::string& name);

}  // namespace fastlr
