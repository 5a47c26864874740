// The GPUs that an optimizer's tensors lie on. Pointers and streams are asked for anew at each step.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/step.h"
#include "tensor/dlpack.h"

namespace fastlr {

class Devices {
 public:
  explicit Devices(const RuleInfo& rule) : rule_(rule) {}

  // False: the GPU has to be left to torch, and problem() says why.
  bool usable(PyObject* param, const TensorView& view);
  // On a usable GPU. `extra`: null where the update is the rule's own.
  void add(const TensorView& view, const Task& task, const Extra* extra, int32_t place, bool repeated, bool made);
  // Of this step: float32 scalars on that GPU, or null.
  void set_scale(int32_t device, const float* grad_scale, const float* found_inf);
  // GPUs without gradients in this step count it all the same, as the host does not know how far their graphs are.
  void join_idle();
  // Tells each GPU of the step what has changed.
  void tell(const std::vector<cuda::GroupSetting>& groups, int32_t places);
  // The same for every GPU that was ever used, at once: a captured graph may run before the next step. `updates`: of
  // each parameter, those that wrote its state.
  void tell_all(const std::vector<cuda::GroupSetting>& groups, const std::vector<int64_t>& updates);
  // Before launch(), where a group's gradients are clipped by norm. False: no GPU has such gradients.
  bool launch_norms();
  // Whether those norms are; waits for the GPUs.
  bool norms_finite() const;
  // By norm set, of the GPU that launched them last; NaN where a set has no norm. Waits for it.
  std::vector<double> norms() const;
  void launch();
  void clear();

  bool used() const;                    // in this step
  bool known() const;                   // ever
  int count() const;                    // of those used in this step
  std::vector<int32_t> in_use() const;  // their numbers
  // The tensor's GPU, if its current stream is being captured; else null.
  const cuda::Device* captured(const TensorView& view) const;
  bool recording() const;           // one of the step's streams is being captured: nothing runs now
  bool records_rule_alone() const;  // in one of them nothing stands around the rule's updates
  int eager() const;                // how many of them are not
  // A GPU may have skipped an update since the last look(), which the host has counted.
  bool uncertain() const;
  // Those are not just the GPUs of this step, which so may count differently.
  bool differ() const;
  // Waits for every GPU, unless one of their streams is being captured; then false.
  bool look(cuda::Progress& progress);
  const std::string& problem() const { return problem_; }

 private:
  struct Use {
    std::unique_ptr<cuda::DeviceStep> step;
    StreamSource source = nullptr;
    cuda::Stream stream = nullptr;
    bool capturing = false;
    bool now = false;  // in this step
  };

  void find_stream(Use& use, int32_t ordinal);

  const RuleInfo& rule_;
  std::vector<Use> uses_;        // by the GPU's number
  std::vector<int32_t> owners_;  // of each parameter, the GPU that it lay on last
  int32_t places_ = 0;
  int32_t measured_ = -1;  // the GPU that launched norms last
  std::string problem_;
};

}  // namespace fastlr
