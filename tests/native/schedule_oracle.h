// Random schedules as trees: emitted as programs, and evaluated recursively with libm in long double as the oracle.
#pragma once

#include <algorithm>
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
constexpr double kGamma = 0.75, kLower = -7.0, kUpper = 3.0;

std::mt19937_64 generator(20240607);

int64_t random_between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(generator);
}
double random_value() { return std::uniform_real_distribution<double>(-2.0, 2.0)(generator); }

struct Node {
  Op op = Op::constant;
  Ramp ramp = {0.0, 0.0, 0.0, 0.0};
  double power = 1.0;
  double warp = 1.0;
  int64_t steps = 1;   // shift, hold: offset; staircase, floor, repeat: period
  int64_t cycles = 0;  // repeat
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

constexpr Op kShapes[] = {Op::constant,  Op::linear,    Op::cosine,       Op::polynomial,   Op::power,
                          Op::tanh,      Op::geometric, Op::logarithmic,  Op::line,         Op::exponential,
                          Op::staircase, Op::table,     Op::inverse_sqrt, Op::inverse_time, Op::samples};
constexpr Op kScopes[] = {Op::shift, Op::hold, Op::floor, Op::repeat};
constexpr Op kOperators[] = {Op::multiply, Op::add, Op::minimum, Op::maximum};

template <size_t n>
Op one_of(const Op (&ops)[n]) {
  return ops[random_between(0, n - 1)];
}

Op random_op(int depth) {
  if (depth == 0 || random_between(0, 5) == 0) return one_of(kShapes);
  const int64_t kind = random_between(0, 2);
  return kind == 0 ? one_of(kScopes) : (kind == 1 ? one_of(kOperators) : Op::sequence);
}

size_t part_count(const Node& node) {
  for (const Op scope : kScopes) {
    if (node.op == scope) return 1;
  }
  for (const Op two : kOperators) {
    if (node.op == two) return 2;
  }
  return node.op == Op::sequence ? node.bounds.size() + 1 : 0;
}

std::unique_ptr<Node> random_node(int depth) {
  auto node = std::make_unique<Node>();
  node->op = random_op(depth);
  const int64_t longest[] = {3, 257, 1048583, kMaxSteps - 1};
  const double origin = static_cast<double>(random_between(-3, 3)) / 4.0;
  node->ramp = {random_value(), random_value(), origin,
                origin + static_cast<double>(random_between(1, longest[random_between(0, 3)]))};
  if (node->op == Op::geometric) node->ramp.end = std::copysign(node->ramp.end, node->ramp.start);
  // A line goes on: kept to lengths over which its value at the last step is a number like the others.
  if (node->op == Op::line) node->ramp.finish = origin + static_cast<double>(kMaxSteps / 2);
  node->power =
      random_between(0, 3) > 0 ? 0.25 + std::fabs(random_value()) * 3.0 : static_cast<double>(random_between(1, 2));
  node->warp = random_between(0, 1) == 0 ? 1.0 : 0.5 + std::fabs(random_value());
  node->steps = random_between(1, longest[random_between(0, 3)]);
  node->cycles = random_between(0, 5);
  if (node->op == Op::shift && random_between(0, 1) == 0) node->steps = -node->steps;
  if (node->op == Op::sequence || node->op == Op::table) {
    node->bounds = random_bounds(static_cast<int>(random_between(0, 6)));
  }
  for (size_t i = 0; i <= node->bounds.size() + (node->op == Op::samples ? 40 : 0); ++i) {
    node->values.push_back(random_value());
  }
  for (size_t i = 0; i < part_count(*node); ++i) node->parts.push_back(random_node(depth - 1));
  return node;
}

void emit(ProgramBuilder& builder, const Node& node);

void emit_shape(ProgramBuilder& builder, const Node& node) {
  const double start = node.ramp.start;
  switch (node.op) {
    case Op::linear:
      return builder.linear(node.ramp);
    case Op::cosine:
      return builder.cosine(node.ramp, node.warp);
    case Op::polynomial:
      return builder.polynomial(node.ramp, node.power, node.warp);
    case Op::power:
      return builder.power(node.ramp, node.power);
    case Op::tanh:
      return builder.hyperbolic(node.ramp, kLower, kUpper);
    case Op::geometric:
      return builder.geometric(node.ramp);
    case Op::logarithmic:
      return builder.logarithmic(node.ramp);
    case Op::line:
      return builder.line(node.ramp);
    case Op::exponential:
      return builder.exponential({start, kGamma, node.power}, false);
    case Op::staircase:
      return builder.exponential({start, kGamma, static_cast<double>(node.steps)}, true);
    case Op::inverse_sqrt:
      return builder.inverse_sqrt(start, node.power, node.warp);
    case Op::inverse_time:
      return builder.inverse_time(start, node.power);
    case Op::table:
      return builder.table(node.bounds, node.values);
    case Op::samples:
      return builder.samples(node.values);
    default:
      return builder.constant(start);
  }
}

void begin_scope(ProgramBuilder& builder, const Node& node) {
  if (node.op == Op::shift) builder.begin_shift(node.steps);
  if (node.op == Op::hold) builder.begin_hold(node.steps);
  if (node.op == Op::floor) builder.begin_floor(node.steps, node.cycles > 2 ? node.steps : 1);
  if (node.op == Op::repeat) builder.begin_repeat(node.steps, node.cycles);
}

void emit(ProgramBuilder& builder, const Node& node) {
  if (node.parts.empty()) return emit_shape(builder, node);
  if (node.op == Op::sequence) {
    builder.begin_sequence(node.bounds);
    for (const auto& part : node.parts) {
      emit(builder, *part);
      builder.end_piece();
    }
    return;
  }
  begin_scope(builder, node);
  for (const auto& part : node.parts) emit(builder, *part);
  if (node.parts.size() == 1) {
    builder.end_scope(node.op);
  } else {
    builder.combine(node.op);
  }
}

size_t bounds_passed(const Node& node, int64_t t) {
  size_t passed = 0;
  for (const int64_t bound : node.bounds) passed += bound <= t ? 1 : 0;
  return passed;
}

Expected expected_shape(const Node& node, int64_t t) {
  const long double start = node.ramp.start, end = node.ramp.end, power = node.power, warp = node.warp;
  const long double scale = std::fmax(std::fabs(start), std::fabs(end));
  const long double span = static_cast<long double>(node.ramp.finish) - node.ramp.origin;
  const long double since = t - static_cast<long double>(node.ramp.origin);
  const long double u = std::fmin(std::fmax(since / span, 0.0L), 1.0L);
  const auto to_end = [&](long double weight) { return Expected{start + (end - start) * weight, scale}; };
  switch (node.op) {
    case Op::linear:
      return to_end(u);
    case Op::line:
      return {start + (end - start) * (since / span), 8.0L * scale * std::fmax(1.0L, since / span)};
    case Op::cosine:
      return to_end((1.0L - std::cos(kPi * std::pow(u, warp))) / 2.0L);
    case Op::polynomial:
      return to_end(1.0L - std::pow(1.0L - std::pow(u, warp), power));
    case Op::power:
      return to_end(std::pow(u, power));
    case Op::tanh:
      return to_end((1.0L + std::tanh(kLower * (1.0L - u) + kUpper * u)) / 2.0L);
    case Op::geometric:
      return {start * std::pow(end / start, u), scale};
    case Op::logarithmic:
      return to_end(std::log1p(u * span) / std::log1p(span));
    case Op::exponential:
      return {start * std::pow(static_cast<long double>(kGamma), t / power), scale};
    case Op::staircase:
      return {start * std::pow(static_cast<long double>(kGamma), static_cast<long double>(t / node.steps)), scale};
    case Op::inverse_sqrt:
      return {start * std::sqrt(power / (t + warp)), 2.0L * std::sqrt(power / warp)};
    case Op::inverse_time:
      return {start / (1.0L + power * t), scale};
    case Op::table:
      return {node.values[bounds_passed(node, t)], 2.0L};
    case Op::samples:
      return {node.values[std::min(t, static_cast<int64_t>(node.values.size()) - 1)], 2.0L};
    default:
      return {start, scale};
  }
}

int64_t expected_time(const Node& node, int64_t t) {
  const __int128 last = std::numeric_limits<int64_t>::max();
  const __int128 moved = static_cast<__int128>(t) - node.steps;
  const int64_t cycle = t / node.steps;
  switch (node.op) {
    case Op::shift:
      return static_cast<int64_t>(moved < 0 ? 0 : (moved > last ? last : moved));
    case Op::hold:
      return std::min(t, node.steps);
    case Op::floor:
      return node.cycles > 2 ? cycle * node.steps : cycle;
    default:
      return t - (node.cycles == 0 ? cycle : std::min(cycle, node.cycles - 1)) * node.steps;
  }
}

Expected expected(const Node& node, int64_t t) {
  if (node.parts.empty()) return expected_shape(node, t);
  if (node.op == Op::sequence) {
    const size_t piece = bounds_passed(node, t);
    return expected(*node.parts[piece], t - (piece > 0 ? node.bounds[piece - 1] : 0));
  }
  if (node.parts.size() == 1) return expected(*node.parts[0], expected_time(node, t));
  const Expected a = expected(*node.parts[0], t);
  const Expected b = expected(*node.parts[1], t);
  if (node.op == Op::multiply) return {a.value * b.value, a.scale * b.scale};
  if (node.op == Op::add) return {a.value + b.value, a.scale + b.scale};
  const bool first = (a.value < b.value) == (node.op == Op::minimum);
  return {first ? a.value : b.value, std::fmax(a.scale, b.scale)};
}

}  // namespace
