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
  // On a usable GPU.
  void add(const TensorView& view, const Task& task, int32_t place, bool repeated, bool made);
  // GPUs without gradients in this step count it all the same, as the host does not know how far their graphs are.
  void join_idle();
  // Tells each GPU of the step what has changed.
  void tell(const std::vector<cuda::GroupSetting>& groups, int32_t places);
  // The same for every GPU that was ever used, at once: a captured graph may run before the next step. `updates`: of
  // each parameter, those that wrote its state.
  void tell_all(const std::vector<cuda::GroupSetting>& groups, const std::vector<int64_t>& updates);
  void launch();
  void clear();

  bool used() const;   // in this step
  bool known() const;  // ever
  // The tensor's GPU, if its current stream is being captured; else null.
  const cuda::Device* captured(const TensorView& view) const;
  bool recording() const;  // one of the step's streams is being captured: nothing runs now
  int eager() const;       // how many of them are not
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
  std::string problem_;
};

}  // namespace fastlr
