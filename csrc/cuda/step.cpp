#include "cuda/step.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "check.h"
#include "rules/rules.h"

namespace fastlr {
namespace cuda {
namespace {

constexpr std::size_t kWord = sizeof(uint64_t);
constexpr std::size_t kGroupWords = sizeof(GroupState) / kWord;
static_assert(sizeof(GroupState) % kWord == 0 && sizeof(StepState) % kWord == 0, "written in words");

std::size_t values_size(const RuleInfo& rule) {
#define FASTLR_SIZE_OF(name) sizeof(StepValues<FASTLR_ARCH::name::Rule>),
  constexpr std::size_t kSizes[] = {FASTLR_RULES(FASTLR_SIZE_OF)};
#undef FASTLR_SIZE_OF
  return kSizes[rule.number];
}

// The arrays behind the head, in one piece of memory.
struct Layout {
  std::size_t values;
  std::size_t clips;
  std::size_t updates;
  std::size_t bytes;
};

Layout layout_of(const RuleInfo& rule, std::size_t groups, std::size_t places) {
  const std::size_t values = groups * sizeof(GroupState);
  const std::size_t clips = values + 2 * groups * values_size(rule);
  const std::size_t updates = clips + groups * sizeof(Clip);
  return {values, clips, updates, updates + places * sizeof(int64_t)};
}

template <class T>
T* at(const Memory& memory, std::size_t offset = 0) {
  return reinterpret_cast<T*>(memory.address() + offset);
}

GroupState state_of(const RuleInfo& rule, const GroupSetting& setting) {
  GroupState state{};
  state.hyper = setting.hyper;
  state.held = setting.held ? 1 : 0;
  state.clock = setting.clock;
  state.updates = setting.updates;
  state.count = setting.count;
  std::size_t k = 0;
  for (const Field& field : rule.fields) {
    if (field.kind != Field::Kind::scheduled) continue;
    if (setting.follows[k] != nullptr) {
      field.write(state.hyper, 0.0);
      state.follows[k].scale = k == 0 ? setting.lr_scale : 1.0;
      state.follows[k].offset = static_cast<int64_t>(field.offset);
    }
    ++k;
  }
  return state;
}

void clear(void* begin, void* end) {
  std::memset(begin, 0, static_cast<std::size_t>(static_cast<char*>(end) - static_cast<char*>(begin)));
}

// So that equal groups are equal words: an assignment copies what lies between the members, too.
void clear_padding(GroupState& state) {
  for (Followed& followed : state.follows) {
    schedule::ProgramView& view = followed.program;
    clear(&view.size + 1, &view.bounds);
    clear(&view.partial + 1, &view + 1);
  }
}

// [first, last) of the words in which the two differ.
void difference(const GroupState& a, const GroupState& b, std::size_t& first, std::size_t& last) {
  const char* x = reinterpret_cast<const char*>(&a);
  const char* y = reinterpret_cast<const char*>(&b);
  const auto same = [&](std::size_t word) { return std::memcmp(x + word * kWord, y + word * kWord, kWord) == 0; };
  first = 0;
  last = kGroupWords;
  while (first < last && same(first)) ++first;
  while (last > first && same(last - 1)) --last;
}

}  // namespace

void DeviceStep::clear() {
  tasks_.clear();
  recipes_ = clipped_ = false;
  grad_scale_ = found_inf_ = nullptr;
}

void DeviceStep::add(const Task& task, const Extra* extra, int32_t place, bool repeated, bool made) {
  tasks_.push_back({task, {}, place, repeated, made});
  DeviceTask& added = tasks_.back();
  if (extra != nullptr) {
    added.extra = *extra;
    recipes_ = true;
  } else {
    for (DType& dtype : added.extra.state_dtype) dtype = task.dtype;
  }
}

void DeviceStep::set_scale(const float* grad_scale, const float* found_inf) {
  grad_scale_ = grad_scale;
  found_inf_ = found_inf;
}

void DeviceStep::tell(const std::vector<GroupSetting>& groups, const std::vector<int64_t>& updates, int32_t places,
                      const Stream* stream) {
  if (groups.size() > static_cast<std::size_t>(kMaxGroups)) {
    raise(ErrorKind::value, "Too many parameter groups on a GPU", std::to_string(groups.size()),
          "Use at most " + std::to_string(kMaxGroups) + ".");
  }
  pending_stream_ = stream == nullptr ? device_.own_stream() : *stream;
  if (told_.size() != groups.size() || told_updates_.size() < static_cast<std::size_t>(places)) {
    allocate(groups.size(), static_cast<std::size_t>(places));
  }
  if (nothing_told_) tell_head();
  tell_groups(groups);
  for (std::size_t i = 0; i < std::min(updates.size(), told_updates_.size()); ++i) tell_place(i, updates[i]);
  tell_places();
  // Also what an earlier step was to tell that failed halfway.
  if (pending_ != nullptr && pending_->writes > 0) flush(true);
  nothing_told_ = false;
  if (stream == nullptr) device_.finish_own();
}

// The head stays where it is, since captured graphs know its address.
void DeviceStep::allocate(std::size_t groups, std::size_t places) {
  const Layout layout = layout_of(rule_, groups, places);
  if (head_.address() == 0) head_ = Memory(device_, sizeof(StepState));
  Memory larger(device_, layout.bytes);
  if (arrays_.address() != 0) retired_.push_back(std::move(arrays_));
  arrays_ = std::move(larger);
  told_.assign(groups, GroupState{});
  told_updates_.resize(places, 0);  // more parameters come behind those that are there
  programs_.assign(groups * kMaxScheduled, nullptr);
  nothing_told_ = true;
}

void DeviceStep::tell_head() {
  const Layout layout = layout_of(rule_, told_.size(), told_updates_.size());
  StepState head;
  std::memset(static_cast<void*>(&head), 0, sizeof head);
  head.groups = at<GroupState>(arrays_);
  head.values = at<void>(arrays_, layout.values);
  head.updates = at<int64_t>(arrays_, layout.updates);
  head.clips = at<Clip>(arrays_, layout.clips);
  head.count = count_;
  head.group_count = static_cast<int32_t>(told_.size());
  write(head_.address(), &head, sizeof head);
  const std::vector<Clip> none(told_.size(), Clip{kNeverMeasured, 1.0});
  write(arrays_.address() + layout.clips, none.data(), none.size() * sizeof(Clip));
  write(arrays_.address() + layout.updates, told_updates_.data(), told_updates_.size() * sizeof(int64_t));
}

void DeviceStep::tell_groups(const std::vector<GroupSetting>& groups) {
  keeps_state_.resize(groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    keeps_state_[g] = rule_.writes(groups[g].hyper, 0);
    GroupState state = state_of(rule_, groups[g]);
    if (groups[g].updates < 0) state.updates = told_[g].updates;
    for (std::size_t k = 0; k < kMaxScheduled; ++k) {
      auto& kept = programs_[g * kMaxScheduled + k];
      const schedule::Program* program = groups[g].follows[k];
      if (program == nullptr) continue;
      auto copy = on_device(*program, device_);
      state.follows[k].program = copy->view;
      kept = std::move(copy);
    }
    clear_padding(state);
    std::size_t first = 0, last = kGroupWords;
    if (!nothing_told_) difference(state, told_[g], first, last);
    if (first == last) continue;
    write(arrays_.address() + g * sizeof(GroupState) + first * kWord,
          reinterpret_cast<const char*>(&state) + first * kWord, (last - first) * kWord);
    told_[g] = state;
  }
}

void DeviceStep::tell_places() {
  for (const DeviceTask& item : tasks_) {
    const auto place = static_cast<std::size_t>(item.place);
    if (item.made) told_updates_[place] = kSomeUpdates;  // not known: told in any case
    const bool first_differs = rule_.writes_first && item.task.span.state[0] != nullptr;
    if (rule_.counts || first_differs) tell_place(place, item.task.span.updates);
  }
}

void DeviceStep::tell_place(std::size_t place, int64_t updates) {
  int64_t& told = told_updates_[place];
  if (updates == kSomeUpdates ? told != 0 : told == updates) return;
  told = updates == kSomeUpdates ? 1 : updates;
  write(arrays_.address() + layout_of(rule_, told_.size(), 0).updates + place * sizeof(int64_t), &told, sizeof told);
}

void DeviceStep::write(Address to, const void* from, std::size_t bytes) {
  if (pending_ == nullptr) pending_ = std::make_unique<PrepareArguments>();
  const char* source = static_cast<const char*>(from);
  while (bytes > 0) {
    if (pending_->writes == PrepareArguments::kWrites || pending_words_ == PrepareArguments::kWords) flush(false);
    const auto room = static_cast<std::size_t>(PrepareArguments::kWords - pending_words_);
    const std::size_t words = std::min(room, bytes / kWord);
    pending_->write[pending_->writes++] = {reinterpret_cast<void*>(to), pending_words_, static_cast<int32_t>(words)};
    std::memcpy(pending_->payload + pending_words_, source, words * kWord);
    pending_words_ += static_cast<int32_t>(words);
    to += words * kWord;
    source += words * kWord;
    bytes -= words * kWord;
  }
}

void DeviceStep::flush(bool refresh) {
  pending_->state = at<StepState>(head_);
  pending_->refresh = refresh ? 1 : 0;
  const Current current(device_);
  device_.launch(Kernel::of(rule_, Part::prepare), 1, 1, kThreads, pending_stream_, pending_.get());
  pending_->writes = 0;
  pending_words_ = 0;
}

void DeviceStep::count_update() {
  ++count_;
  for (GroupState& group : told_) {
    group.clock += group.held != 0 ? 0 : 1;
    ++group.updates;
    ++group.count;
  }
  uncertain_ = uncertain_ || clipped_ || found_inf_ != nullptr;
  for (const DeviceTask& item : tasks_) {
    if (keeps_state_[static_cast<std::size_t>(item.task.group)] != 0) {
      ++told_updates_[static_cast<std::size_t>(item.place)];
    }
  }
}

Progress DeviceStep::look() {
  if (nothing_told_) return {};
  const Layout layout = layout_of(rule_, told_.size(), told_updates_.size());
  StepState head;
  std::vector<GroupState> groups(told_.size());
  device_.wait();
  device_.download(&head, head_.address(), sizeof head);
  device_.download(groups.data(), arrays_.address(), groups.size() * sizeof(GroupState));
  Progress progress{head.count - count_, {}, told_updates_};
  device_.download(told_updates_.data(), arrays_.address() + layout.updates, told_updates_.size() * sizeof(int64_t));
  count_ = head.count;
  uncertain_ = false;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    progress.clocks.push_back(groups[g].clock - told_[g].clock);
    told_[g].clock = groups[g].clock;
    told_[g].updates = groups[g].updates;
    told_[g].count = groups[g].count;
  }
  for (std::size_t p = 0; p < told_updates_.size(); ++p) {
    int64_t& known = progress.updates_of[p];
    known = known == told_updates_[p] ? kSomeUpdates : told_updates_[p];
  }
  return progress;
}

}  // namespace cuda
}  // namespace fastlr
