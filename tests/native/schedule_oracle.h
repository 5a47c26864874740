// Random schedules as trees: emitted as programs, and evaluated recursively with libm in long double as the oracle.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "schedule/program.h"

namespace {

using fastlr::schedule::kMaxSteps;
using fastlr::schedule::Op;
using fastlr::schedule::ProgramBuilder;
using fastlr::schedule::Ramp;

constexpr long double kPi = 3.14159265358979323846264338327950288L;
constexpr double kGamma = 0.75;

std::mt19937_64 generator(20240607);

int64_t random_between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(generator);
}
double random_value() { return std::uniform_real_distribution<double>(-2.0, 2.0)(generator); }

struct Node {
  Op op = Op::constant;
  Ramp ramp = {0.0, 0.0, 0.0, 0.0};
  double power = 1.0;
  int64_t steps = 1;  // shift: offset; exponential: period
  std::vector<int64_t> bounds;
  std::vector<double> values;
  std::vector<std::unique_ptr<Node>> parts;
};

struct Expected {
  long double value;
  long double scale;  // no value of this subtree is larger
};

std::vector<int64_t> random_bounds(int count) {
  const int64_t longest[] = {1, 9, 1000003, kMaxSteps / 8};
  std::vector<int64_t> bounds;
  int64_t last = 0;
  for (int i = 0; i < count; ++i) bounds.push_back(last += random_between(1, longest[random_between(0, 3)]));
  return bounds;
}

std::unique_ptr<Node> random_node(int depth) {
  const Op shapes[] = {Op::constant, Op::linear, Op::cosine, Op::polynomial, Op::exponential, Op::table};
  const Op nodes[] = {Op::multiply, Op::add, Op::shift, Op::sequence};
  auto node = std::make_unique<Node>();
  node->op = depth > 0 && random_between(0, 4) > 0 ? nodes[random_between(0, 3)] : shapes[random_between(0, 5)];
  const int64_t longest[] = {3, 257, 1048583, kMaxSteps - 1};
  const double origin = static_cast<double>(random_between(-3, 3)) / 4.0;
  node->ramp = {random_value(), random_value(), origin,
                origin + static_cast<double>(random_between(1, longest[random_between(0, 3)]))};
  node->power = 0.25 + std::fabs(random_value()) * 3.0;
  node->steps = random_between(1, longest[random_between(0, 3)]);
  size_t parts = 0;
  if (node->op == Op::shift) {
    parts = 1;
    if (random_between(0, 1) == 0) node->steps = -node->steps;
  } else if (node->op == Op::multiply || node->op == Op::add) {
    parts = 2;
  } else if (node->op == Op::sequence || node->op == Op::table) {
    node->bounds = random_bounds(static_cast<int>(random_between(0, 6)));
    for (size_t i = 0; i <= node->bounds.size(); ++i) node->values.push_back(random_value());
    parts = node->op == Op::sequence ? node->bounds.size() + 1 : 0;
  }
  for (size_t i = 0; i < parts; ++i) node->parts.push_back(random_node(depth - 1));
  return node;
}

void emit(ProgramBuilder& builder, const Node& node) {
  if (node.op == Op::sequence) builder.begin_sequence(node.bounds);
  if (node.op == Op::shift) builder.begin_shift(node.steps);
  for (const auto& part : node.parts) {
    emit(builder, *part);
    if (node.op == Op::sequence) builder.end_piece();
  }
  if (node.op == Op::shift) builder.end_shift();
  if (node.op == Op::multiply) builder.multiply();
  if (node.op == Op::add) builder.add();
  if (node.op == Op::constant) builder.constant(node.ramp.start);
  if (node.op == Op::linear) builder.linear(node.ramp);
  if (node.op == Op::cosine) builder.cosine(node.ramp);
  if (node.op == Op::polynomial) builder.polynomial(node.ramp, node.power);
  if (node.op == Op::exponential) builder.exponential({node.ramp.start, kGamma, node.steps});
  if (node.op == Op::table) builder.table(node.bounds, node.values);
}

size_t bounds_passed(const Node& node, int64_t t) {
  size_t passed = 0;
  for (const int64_t bound : node.bounds) passed += bound <= t ? 1 : 0;
  return passed;
}

Expected expected(const Node& node, int64_t t);

Expected expected_shape(const Node& node, int64_t t) {
  const long double start = node.ramp.start, end = node.ramp.end;
  const long double scale = std::fmax(std::fabs(start), std::fabs(end));
  const long double span = static_cast<long double>(node.ramp.finish) - node.ramp.origin;
  const long double u = std::fmin(std::fmax((t - static_cast<long double>(node.ramp.origin)) / span, 0.0L), 1.0L);
  switch (node.op) {
    case Op::linear:
      return {start + (end - start) * u, scale};
    case Op::cosine:
      return {end + (start - end) * (1.0L + std::cos(kPi * u)) / 2.0L, scale};
    case Op::polynomial:
      return {end + (start - end) * std::pow(1.0L - u, static_cast<long double>(node.power)), scale};
    case Op::exponential:
      return {start * std::pow(static_cast<long double>(kGamma), static_cast<long double>(t / node.steps)), scale};
    case Op::table:
      return {node.values[bounds_passed(node, t)], 2.0L};
    default:
      return {start, scale};
  }
}

Expected expected(const Node& node, int64_t t) {
  if (node.parts.empty()) return expected_shape(node, t);
  if (node.op == Op::sequence) {
    const size_t piece = bounds_passed(node, t);
    return expected(*node.parts[piece], t - (piece > 0 ? node.bounds[piece - 1] : 0));
  }
  if (node.op == Op::shift) {
    const __int128 moved = static_cast<__int128>(t) - node.steps;
    const __int128 last = std::numeric_limits<int64_t>::max();
    return expected(*node.parts[0], static_cast<int64_t>(moved < 0 ? 0 : (moved > last ? last : moved)));
  }
  const Expected a = expected(*node.parts[0], t);
  const Expected b = expected(*node.parts[1], t);
  if (node.op == Op::multiply) return {a.value * b.value, a.scale * b.scale};
  return {a.value + b.value, a.scale + b.scale};
}

}  // namespace
