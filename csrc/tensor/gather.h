// From torch's param_groups and state to a plan: reads every tensor anew at each step, checks all of them before
// anything is changed, and keeps them alive until the update is done.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

#include "step/plan.h"
#include "tensor/devices.h"
#include "tensor/dlpack.h"
#include "tensor/group.h"

namespace fastlr {

namespace py = pybind11;

// What finish() has to tell its caller.
enum Notice : int {
  kNothing = 0,
  kOverridden = 1,
  kEndedAtZero = 2,
  kRecordedConstant = 4,
  kLeftToTorch = 8,
  kLacksMomentum = 16
};

// Strong references, given back together.
class References {
 public:
  References() = default;
  ~References() { clear(); }
  References(const References&) = delete;
  References& operator=(const References&) = delete;

  void take(PyObject* new_reference) {
    if (new_reference != nullptr) held_.push_back(new_reference);
  }
  void hold(PyObject* borrowed) { held_.push_back(Py_NewRef(borrowed)); }
  void clear() {
    std::vector<PyObject*> given_back;
    given_back.swap(held_);  // a destructor may run any code
    for (PyObject* object : given_back) Py_DECREF(object);
    given_back.clear();
    if (held_.empty()) held_.swap(given_back);  // keeps the capacity
  }
  const std::vector<PyObject*>& objects() const { return held_; }

 private:
  std::vector<PyObject*> held_;
};

class SgdStep {
 public:
  // Reads and checks everything. Returns None when the core takes it all, else a list with an entry
  // (group index, lr, momentum, weight decay, parameters) for what torch's own operators have to do.
  // unwritten: parameters whose state is allocated, but no update has written it.
  py::object prepare(const py::list& groups, const py::dict& state, const py::set& unwritten);
  // Updates what prepare() found, then counts and writes back the next rates. Returns notices.
  int finish();
  // Drops what prepare() found.
  void abandon();

  // Groups or state have been replaced: what was found in them is forgotten. The GPUs keep their state, which captured
  // graphs use.
  void forget();
  // Whether some update was recorded into a CUDA graph: then the GPUs may be ahead of the groups' counts.
  bool recorded() const { return recorded_; }
  // Waits for the GPUs and writes what they have counted into the groups.
  void sync(const py::list& groups, const py::set& unwritten);
  // Tells the GPUs at once what stands in the groups and which state has been written. Returns notices.
  int tell(const py::list& groups, const py::dict& state, const py::set& unwritten);
  // Why GPUs are left to torch's operators, or "".
  const std::string& cuda_problem() const { return devices_.problem(); }

 private:
  // Where things were at the last step: looked at first, or asked for ahead. Never trusted.
  struct Seen {
    Py_ssize_t place = 0;  // in state_
    const void* entries = nullptr;
    const void* buffer = nullptr;
    const void* implementation = nullptr;  // of the buffer
  };
  struct NewBuffer {
    PyObject* param;
    py::object buffer;
    bool written;  // by this update
  };

  void gather_group(std::size_t index, PyObject* group);
  Access gather_param(PyObject* param, const Group& group);
  bool usable(PyObject* param, const TensorView& view);
  bool relay_gradient(PyObject* param, const TensorView& like, TensorView& grad);
  py::object new_buffer(PyObject* param, const TensorView& like, bool written);
  bool add_state(PyObject* param, const TensorView& like, bool written, Span& span);
  void read_groups(const py::list& groups);
  void check_recording() const;
  void find_repeated(const py::list& groups);
  std::vector<cuda::GroupSetting> settings() const;
  void run_updates();
  int commit();
  int lacking_momentum() const;
  void ask_ahead() const;
  bool is_unwritten(PyObject* param);
  PyObject* state_of(PyObject* param);
  void hold_gradients();
  void mark_written();

  Plan plan_;
  bool in_order_ = false;  // two tasks of the plan are for the same tensor
  Devices devices_;
  bool recorded_ = false;
  std::vector<char> recorded_bare_;  // of each group: some graph has recorded it without momentum
  std::vector<std::unique_ptr<Group>> groups_;
  py::list group_dicts_;
  py::dict state_;
  py::set unwritten_;
  References written_;  // this step's parameters
  References alive_;    // this step's buffers, and gradients once they are held
  bool holds_gradients_ = false;
  PyObject* current_ = nullptr;  // the parameter at hand, not yet among written_
  py::list fallback_;
  std::vector<NewBuffer> new_buffers_;
  std::vector<PyObject*> first_writes_;  // parameters whose state is there, and this update is the first to write it
  std::size_t cursor_ = 0;               // the parameter's place among all
  std::vector<char> repeated_;           // of each parameter: it stands at an earlier place as well, which torch allows
  std::vector<Seen> seen_;               // what was found for the parameter at that place last time
  Py_ssize_t behind_ = 0;                // the place in state_ behind the parameter found last
  bool searched_ = false;
};

}  // namespace fastlr
