// A model as the norm's and the recipe's kernels see it, and the same model on the CPU's kernels. Chunks, launches and
// the groups' norms are laid out here, by other code than the product's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda_device_state.h"
#include "recipe_model.h"

namespace cuda_test {

using recipe_test::Case;

template <class Rule>
class RecipeTensor {
 public:
  // `what` has its types, layout and updates, and its group's recipe.
  RecipeTensor(const Case& what, int64_t size, const Offsets& at, int32_t group)
      : case_(what),
        group_(group),
        expected_(recipe_test::random_memory<Rule>(what, size)),
        param_(expected_.param, at.param * element_size(what.dtype)),
        grad_(expected_.grad, at.grad * element_size(what.dtype)),
        master_(expected_.master, at.param * element_size(DType::float32)),
        average_(expected_.average, at.later * element_size(recipe_test::computed(what.dtype))) {
    for (const std::vector<char>& state : expected_.state) {
      state_.emplace_back(state, at.state * element_size(what.state));
    }
  }

  void set_place(std::size_t place) { case_.place = static_cast<int32_t>(place); }
  void set_gradient(const std::vector<char>& bytes) {
    expected_.grad = bytes;
    if (!bytes.empty()) std::memcpy(grad_.data(), bytes.data(), bytes.size());
  }
  void expect_zeroed() { std::fill(expected_.grad.begin(), expected_.grad.end(), '\0'); }
  void update_on_cpu(const typename Rule::Hyper& hyper, const Recipe& recipe, double factor, int64_t count) {
    case_.recipe = recipe;
    case_.factor = factor;
    case_.count = count;
    recipe_test::update_recipe_with<Rule>(*available_kernels().back(), case_, hyper, described(case_, expected_));
    case_.updates += Rule::writes(Rule::traffic(hyper, false), 0) ? 1 : 0;
  }
  // The sums of the squares of its chunks.
  std::vector<double> chunk_sums() const {
    std::vector<double> sums;
    for (int64_t begin = 0; begin < size(); begin += 16384) {
      const char* from = expected_.grad.data() + begin * element_size(dtype());
      sums.push_back(kernels().sum_squares(dtype(), from, std::min<int64_t>(16384, size() - begin)));
    }
    return sums;
  }
  bool agrees() const {
    bool same = param_.holds(expected_.param) && grad_.holds(expected_.grad) && master_.holds(expected_.master) &&
                average_.holds(expected_.average);
    for (std::size_t k = 0; k < state_.size(); ++k) same = same && state_[k].holds(expected_.state[k]);
    return same;
  }
  int64_t chunks(int64_t elements) const {
    const auto weights = reinterpret_cast<uintptr_t>(case_.has_master() ? master_.data() : param_.data());
    const auto width = static_cast<uintptr_t>(case_.has_master() ? 4 : element_size(dtype()));
    const auto skipped = static_cast<int64_t>(weights / width % 4);
    return size() == 0 ? 0 : (skipped + size() + elements - 1) / elements;
  }

  const Case& what() const { return case_; }
  int32_t group() const { return group_; }
  DType dtype() const { return case_.dtype; }
  int64_t size() const { return recipe_test::size_of(case_, expected_); }
  void* param() const { return param_.data(); }
  void* grad() const { return grad_.data(); }
  void* master() const { return case_.has_master() ? master_.data() : nullptr; }
  void* average() const { return case_.averages() ? average_.data() : nullptr; }
  void* state(int k) const { return state_[static_cast<std::size_t>(k)].data(); }

 private:
  Case case_;
  int32_t group_;
  recipe_test::Memory expected_;
  Array param_, grad_, master_, average_;
  std::vector<Array> state_;
};

// The tensors of a group follow one another, as in an optimizer.
template <class Rule>
class RecipeModel {
 public:
  RecipeModel(std::vector<GroupCase<Rule>> groups, std::vector<RecipeTensor<Rule>> tensors)
      : state_(std::move(groups), updates_of(tensors)), tensors_(std::move(tensors)) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].set_place(place(i));
  }

  // Scalars of the device; null: no scaling, no finding.
  void set_scale(const float* grad_scale, const float* found_inf) {
    grad_scale_ = grad_scale;
    found_inf_ = found_inf;
  }
  void refresh(const Execution& how) { state_.refresh(how); }
  void new_gradients() {
    for (RecipeTensor<Rule>& tensor : tensors_) tensor.set_gradient(random_elements(tensor.dtype(), tensor.size()));
  }

  template <int32_t bytes>
  void launch(std::size_t per_launch, int32_t tiles, const Execution& how) {
    bool clipped = false;
    for (const GroupCase<Rule>& group : state_.groups()) clipped = clipped || clips(group);
    if (clipped) launch_norms<bytes>(per_launch, how);
    using Arguments = RecipeArguments<Rule::kStates, bytes>;
    const auto arguments = std::make_unique<Arguments>();
    arguments->state = &state_.head();
    arguments->grad_scale = grad_scale_;
    arguments->found_inf = found_inf_;
    arguments->clipped = clipped ? 1 : 0;
    arguments->tiles = tiles;
    per_launch = std::min(per_launch, static_cast<std::size_t>(Arguments::kCapacity));
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(begin + per_launch, tensors_.size());
      arguments->last = end == tensors_.size() ? 1 : 0;
      const int64_t blocks = std::max<int64_t>(fill(*arguments, begin, end) + arguments->last, 1);
      run<bytes>(kernel_of<Rule>("recipe"), blocks, arguments.get(), how);
      begin = end;
    } while (begin < tensors_.size());
  }

  // What a step should do. Returns whether it is an update.
  bool expect_step() {
    const double inverse = grad_scale_ == nullptr ? 1.0 : 1.0 / static_cast<double>(*grad_scale_);
    bool skipped = found_inf_ != nullptr && *found_inf_ != 0.0f;
    if (!skipped) norms_ = norms(inverse);
    for (std::size_t g = 0; g < norms_.size(); ++g) {
      skipped = skipped || (clips(state_.groups()[g]) && !std::isfinite(norms_[g]));
    }
    for (RecipeTensor<Rule>& tensor : tensors_) {
      const GroupCase<Rule>& group = state_.group(tensor.group());
      const Recipe recipe = group.recipe_now();
      if (skipped) {
        if (recipe.zero_grad_in_step) tensor.expect_zeroed();
        continue;
      }
      const double norm = norms_[static_cast<std::size_t>(tensor.group())];
      const double factor = clips(group) ? inverse * std::min(1.0, recipe.max_grad_norm / (norm + 1e-6)) : inverse;
      tensor.update_on_cpu(group.now(), recipe, factor, group.count);
    }
    if (!skipped) state_.expect_update();
    return !skipped;
  }
  void check() {
    state_.check();
    check_tensors();
    for (std::size_t g = 0; g < norms_.size(); ++g) {
      if (!clips(state_.groups()[g])) continue;
      const double found = state_.clip(static_cast<int32_t>(g)).norm;
      CHECK(std::memcmp(&found, &norms_[g], sizeof found) == 0 || (std::isnan(found) && std::isnan(norms_[g])));
    }
  }
  void check_tensors() const {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      CHECK(tensors_[i].agrees() && state_.updates(place(i)) == tensors_[i].what().updates);
    }
  }

  std::vector<RecipeTensor<Rule>>& tensors() { return tensors_; }
  StepState& head() { return state_.head(); }

 private:
  std::size_t place(std::size_t i) const { return tensors_.size() - 1 - i; }
  static std::vector<int64_t> updates_of(const std::vector<RecipeTensor<Rule>>& tensors) {
    std::vector<int64_t> updates;
    for (auto tensor = tensors.rbegin(); tensor != tensors.rend(); ++tensor) updates.push_back(tensor->what().updates);
    return updates;
  }
  static bool clips(const GroupCase<Rule>& group) { return std::isfinite(group.recipe.max_grad_norm); }

  // By group; those that share a norm all have it.
  std::vector<double> norms(double inverse) const {
    std::vector<double> shared, all;
    std::vector<std::vector<double>> own(state_.groups().size());
    for (const RecipeTensor<Rule>& tensor : tensors_) {
      const GroupCase<Rule>& group = state_.group(tensor.group());
      std::vector<double>& set = group.recipe.norm_per_group ? own[static_cast<std::size_t>(tensor.group())] : shared;
      const std::vector<double> sums = tensor.chunk_sums();
      if (clips(group)) set.insert(set.end(), sums.begin(), sums.end());
    }
    for (std::size_t g = 0; g < own.size(); ++g) {
      const std::vector<double>& set = state_.groups()[g].recipe.norm_per_group ? own[g] : shared;
      all.push_back(std::sqrt(kernels().sum(set.data(), static_cast<int64_t>(set.size()))) * inverse);
    }
    return all;
  }

  template <int32_t bytes>
  void run(const std::string& name, int64_t blocks, const void* arguments, const Execution& how) {
    run_kernel(name, bytes == kLongArguments, static_cast<int32_t>(blocks), arguments, how);
    CHECK(state_.head().ticket == 0);
  }

  // On exactly allocated memory for the sums.
  template <int32_t bytes>
  void launch_norms(std::size_t per_launch, const Execution& how) {
    using Arguments = NormArguments<bytes>;
    std::vector<const RecipeTensor<Rule>*> measured;
    std::size_t chunks = 0;
    for (const RecipeTensor<Rule>& tensor : tensors_) {
      if (!clips(state_.group(tensor.group()))) continue;
      measured.push_back(&tensor);
      chunks += tensor.chunk_sums().size();
    }
    std::vector<double> sums(chunks, std::nan(""));
    std::vector<int32_t> groups(chunks, -1);
    std::vector<ChunkRange> ranges(state_.groups().size(), ChunkRange{-1, -1});
    const auto arguments = std::make_unique<Arguments>();
    arguments->state = &state_.head();
    arguments->sums = sums.data();
    arguments->groups = groups.data();
    arguments->ranges = ranges.data();
    arguments->grad_scale = grad_scale_;
    arguments->found_inf = found_inf_;
    per_launch = std::min(per_launch, static_cast<std::size_t>(Arguments::kCapacity));
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(begin + per_launch, measured.size());
      arguments->chunks = 0;
      for (std::size_t i = begin; i < end; ++i) {
        arguments->grad[i - begin] = measured[i]->grad();
        arguments->size[i - begin] = measured[i]->size();
        arguments->first_chunk[i - begin] = arguments->chunks;
        arguments->group[i - begin] = static_cast<uint16_t>(measured[i]->group());
        arguments->dtype[i - begin] = static_cast<uint8_t>(measured[i]->dtype());
        arguments->chunks += static_cast<int32_t>((measured[i]->size() + 16383) / 16384);
      }
      arguments->tensors = static_cast<int32_t>(end - begin);
      arguments->last = end == measured.size() ? 1 : 0;
      run<bytes>("fastlr_norm", std::max(arguments->chunks, 1), arguments.get(), how);
      arguments->before += arguments->chunks;
      begin = end;
    } while (begin < measured.size());
  }

  template <class Arguments>
  int64_t fill(Arguments& arguments, std::size_t begin, std::size_t end) const {
    int64_t chunks = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const RecipeTensor<Rule>& tensor = tensors_[i];
      const std::size_t to = i - begin;
      arguments.param[to] = tensor.param();
      arguments.grad[to] = tensor.grad();
      arguments.master[to] = tensor.master();
      arguments.average[to] = tensor.average();
      for (int k = 0; k < Rule::kStates; ++k) {
        arguments.buffer[k][to] = state_.group(tensor.group()).may_need(k) ? tensor.state(k) : nullptr;
        arguments.state_dtype[k][to] = static_cast<uint8_t>(tensor.what().state);
      }
      arguments.size[to] = tensor.size();
      arguments.rows[to] = tensor.what().rows;
      arguments.columns[to] = tensor.what().columns;
      arguments.first_chunk[to] = static_cast<int32_t>(chunks);
      arguments.place[to] = tensor.what().place;
      arguments.group[to] = static_cast<uint16_t>(tensor.group());
      arguments.dtype[to] = static_cast<uint8_t>(tensor.dtype());
      chunks += tensor.chunks(int64_t{arguments.tiles} * kRecipeTile);
    }
    arguments.tensors = static_cast<int32_t>(end - begin);
    return chunks;
  }

  DeviceState<Rule> state_;
  std::vector<RecipeTensor<Rule>> tensors_;
  std::vector<double> norms_;
  const float* grad_scale_ = nullptr;
  const float* found_inf_ = nullptr;
};

}  // namespace cuda_test
