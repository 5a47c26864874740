// One optimizer's step on one device: the state there, what the host told it, and the launches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "cuda/programs.h"
#include "cuda/state.h"
#include "step/plan.h"

namespace fastlr {
namespace cuda {

// A parameter group as the host sees it before an update.
struct GroupSetting {
  const schedule::Program* follows[kMaxScheduled];  // null: the constant in hyper
  HyperBytes hyper;                                 // of this update
  double lr_scale;
  int64_t clock;    // the step at which the next update evaluates the schedules
  bool held;        // somebody wrote a value over a schedule's: the clock stands
  int64_t updates;  // of most of its tensors, where the rule counts them; -1: as it was told last
  int64_t count;    // updates that the optimizer has done
};

// What stands for a number of updates that is not known, but not 0.
constexpr int64_t kSomeUpdates = -1;

// What the device has counted beyond what the host knew of: replayed graphs, less the updates that it skipped.
struct Progress {
  int64_t updates = 0;
  std::vector<int64_t> clocks;  // updates of each group in which its clock did not stand
  // Of each parameter, updates that wrote its state; kSomeUpdates where the host knew them, or it is elsewhere.
  std::vector<int64_t> updates_of;
};

class DeviceStep {
 public:
  DeviceStep(const RuleInfo& rule, const Device& device) : rule_(rule), device_(device) {}

  const Device& device() const { return device_; }
  void clear();
  // `extra`: null where the update is the rule's own. `place`: of the parameter among all of the optimizer's.
  // `repeated`: an earlier task is for the same tensor. `made`: its state was made for this update, whatever graphs
  // without state have counted.
  void add(const Task& task, const Extra* extra, int32_t place, bool repeated, bool made);
  // Of this update: float32 scalars on the device, or null. Gradients are divided by the scale; where found_inf is not
  // 0, the device skips the update.
  void set_scale(const float* grad_scale, const float* found_inf);
  bool empty() const { return tasks_.empty(); }
  // Something stands around the rule's updates.
  bool has_recipe() const { return recipes_ || grad_scale_ != nullptr || found_inf_ != nullptr; }

  // Tells the device what has changed; nothing in a step like the one before. `updates`: of each parameter, those that
  // wrote its state; empty where only the tasks tell. Null for the stream: on one of its own, and waited for, as where
  // the current one is captured.
  void tell(const std::vector<GroupSetting>& groups, const std::vector<int64_t>& updates, int32_t places,
            const Stream* stream);
  // The norms of the gradients, in a launch for as many tensors as its arguments hold. False: no group clips by norm.
  bool launch_norms(Stream stream);
  // Both wait for the device. By norm set; NaN where a set has no norm; empty before the first.
  bool norms_finite() const;
  std::vector<double> norms() const;
  // The update: one launch for as many tensors as its arguments hold.
  void launch(Stream stream) const;
  // After a launch that was no recording: what the device counts now.
  void count_update();
  // The device may have skipped an update that was counted since the last look.
  bool uncertain() const { return uncertain_; }
  // Waits for the device.
  Progress look();

 private:
  struct DeviceTask {
    Task task;
    Extra extra;
    int32_t place;
    bool repeated;  // has to wait for the launch before
    bool made;
  };

  void allocate(std::size_t groups, std::size_t places);
  void tell_head();
  void tell_groups(const std::vector<GroupSetting>& groups);
  void tell_places();
  void tell_place(std::size_t place, int64_t updates);
  void write(Address to, const void* from, std::size_t bytes);
  void flush(bool refresh);
  template <int32_t states>
  void launch_with(Stream stream) const;
  template <int32_t states, int32_t bytes>
  void launch_as(Stream stream) const;
  template <class Arguments>
  void launch_parts(Stream stream, Arguments* arguments) const;
  template <class Arguments>
  int32_t fill(Arguments& arguments, std::size_t first, std::size_t last) const;
  std::size_t end_of_launch(std::size_t first, std::size_t capacity) const;
  template <class Arguments>
  int32_t tiles_in_a_chunk() const;
  Part part_for(std::size_t first, std::size_t last) const;
  bool clips(int32_t group) const;
  void make_room(std::size_t chunks);
  template <class Arguments>
  void launch_norm_parts(Stream stream) const;

  const RuleInfo& rule_;
  const Device& device_;
  std::vector<DeviceTask> tasks_;
  bool recipes_ = false;  // some task has an extra
  bool clipped_ = false;  // norms were launched
  const float* grad_scale_ = nullptr;
  const float* found_inf_ = nullptr;

  Memory head_;
  Memory arrays_;
  Memory norms_;  // of a step's chunks: their sums, their groups, and each group's range
  std::size_t chunk_room_ = 0;
  std::size_t group_room_ = 0;
  std::vector<const Task*> measured_;                           // whose gradients the norms are of
  std::vector<Memory> retired_;                                 // earlier arrays: a launch may still read them
  std::vector<GroupState> told_;                                // as the device has it
  std::vector<int64_t> told_updates_;                           // of each parameter, as the device has it
  std::vector<char> keeps_state_;                               // of each group, in this update
  std::vector<std::shared_ptr<const DeviceProgram>> programs_;  // those of told_, kept alive
  bool nothing_told_ = true;
  int64_t count_ = 0;       // the device's, as far as the host knows
  bool uncertain_ = false;  // whether it does

  std::unique_ptr<PrepareArguments> pending_;
  int32_t pending_words_ = 0;
  Stream pending_stream_ = nullptr;
};

}  // namespace cuda
}  // namespace fastlr
