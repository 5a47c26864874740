// From torch's param_groups and state to a plan: reads every tensor anew at each step, checks all of them before
// anything is changed, and keeps them alive until the update is done.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "step/plan.h"
#include "tensor/devices.h"
#include "tensor/dlpack.h"
#include "tensor/group.h"
#include "tensor/names.h"
#include "tensor/references.h"
#include "tensor/state.h"

namespace fastlr {

namespace py = pybind11;

// What finish() has to tell its caller.
enum Notice : int {
  kNothing = 0,
  kOverridden = 1,
  kEndedAtZero = 2,
  kRecordedConstant = 4,
  kLeftToTorch = 8,
  kLacksState = 16,
  kSkipped = 32  // nothing was updated
};

// One optimizer's step.
class Step {
 public:
  explicit Step(const std::string& rule) : rule_(rule_named(rule)), plan_(rule_), names_(rule_), devices_(rule_) {}

  // What the next prepare() scales its gradients by, and where not 0 skips the update; either may be None.
  void scale(const py::object& grad_scale, const py::object& found_inf);
  // Reads and checks everything. Returns None when the core does it all, else a list with an entry
  // (group index, values of what may be scheduled, parameters) for what torch's own operators have to do, and what the
  // core takes needs help: squares() and set_norms().
  // unwritten: parameters whose state is allocated, but no update has written it.
  py::object prepare(const py::list& groups, const py::dict& state, const py::set& unwritten);
  // The host knows that the update is to be skipped.
  bool must_skip() const { return must_skip_; }
  // Of each parameter that the core takes and clips by norm: itself, its set, and the sum of its gradient's squares.
  py::list squares();
  // The norms of the sets, unscaled and finite where used.
  void set_norms(const std::vector<double>& norms);
  // Updates what prepare() found, then counts and writes back the next rates. Returns notices.
  int finish();
  // Drops what prepare() found.
  void abandon();

  // Groups or state have been replaced: what was found in them is forgotten. The GPUs keep their state, which captured
  // graphs use.
  void forget();
  // Whether some update was recorded into a CUDA graph: then the GPUs may be ahead of the groups' counts.
  bool recorded() const { return recorded_; }
  // Whether GPUs may have counted other updates than the host: by replays, or where they skipped one.
  bool may_differ() const { return recorded_ || devices_.uncertain(); }
  // The norms of the last update's sets. Waits for a GPU.
  std::vector<double> norms();
  // Waits for the GPUs and writes what they have counted into the groups.
  void sync(const py::list& groups, const py::dict& state, const py::set& unwritten);
  // Tells the GPUs at once what stands in the groups and which state has been written. Returns notices.
  int tell(const py::list& groups, const py::dict& state, const py::set& unwritten);
  // Whether a parameter's first update writes its state without reading it.
  bool writes_first() const { return rule_.writes_first; }
  // Why GPUs are left to torch's operators, or "".
  const std::string& cuda_problem() const { return devices_.problem(); }

 private:
  // Where things were at the last step: looked at first, or asked for ahead. Never trusted.
  struct Seen {
    Py_ssize_t place = 0;  // in state_
    const void* entries = nullptr;
    const void* buffer[kMaxStates] = {};
    const void* implementation[kMaxStates] = {};  // of the buffers
  };
  // Whether a parameter stands at several places, which torch allows, and this is the first of them.
  enum class Repeated : char { never, first, again };
  struct NewEntry {
    PyObject* param;
    PyObject* name;
    py::object value;
    bool written;  // by this update
    bool of_rule;  // the rule's own state
  };
  // The parameter at hand.
  struct Param {
    explicit Param(PyObject* param) : tensor(param) {}

    PyObject* const tensor;
    PyObject* like = nullptr;  // the same where it is a DTensor
    TensorView view;
    PyObject* entries = nullptr;  // of its state
    Py_ssize_t next = 0;          // the place in entries behind the one found last
    Extra extra;
    bool has_extra = false;
    bool made = false;  // its count, or where there is none its state, is new
  };

  void read_and_gather();
  void learn_progress();
  void gather();
  void gather_group(std::size_t index);
  void forget_gathered();
  bool clips() const;
  bool is_spread() const;
  void give_scale();
  void read_found_inf();
  bool clip();
  bool find_factors();
  int32_t norm_set_of(std::size_t group) const;
  bool are_finite(const std::vector<double>& norms) const;
  void launch_norms();
  int threads() const;
  void zero_relaid();
  bool find_layout(Param& param) const;
  bool add_extra(Param& param, const Group& group);
  bool add_weights(Param& param, PyObject* name, DType dtype, const py::object& make, void*& out);
  Access gather_param(PyObject* param, const Group& group);
  Access take(PyObject* param, const Group& group);
  Access view_parts(Param& param, TensorView& grad);
  Access view_part(PyObject* tensor, PyObject* like, TensorView& out);
  bool usable(PyObject* param, const TensorView& view);
  bool relay_gradient(const Param& param, TensorView& grad);
  py::object new_buffer(const Param& param, bool written);
  bool add_states(Param& param, const Group& group, Span& span);
  bool add_state(Param& param, const Group& group, int k, bool written, Span& span);
  void add_count(Param& param, Span& span);
  PyObject* entry(Param& param, PyObject* name);
  void read_groups(const py::list& groups);
  void check_recording() const;
  void find_repeated();
  std::vector<cuda::GroupSetting> settings() const;
  int64_t updates_of(const py::handle& param, const py::dict& state, const py::set& unwritten) const;
  void write_updates(const py::dict& state, py::set unwritten, const py::handle& param, int64_t updates) const;
  void run_updates();
  int commit();
  int lacking_parts() const;
  void ask_ahead() const;
  bool is_unwritten(PyObject* param);
  PyObject* state_of(PyObject* param);
  void hold_gradients();
  void mark_written();

  const RuleInfo& rule_;
  Plan plan_;
  StateNames names_;
  bool in_order_ = false;  // two tasks of the plan are for the same tensor
  Devices devices_;
  bool recorded_ = false;
  // Of each group, a bit for each of its parts(): some graph has recorded it without that.
  std::vector<unsigned> recorded_without_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<int64_t> group_updates_;  // of most of each group's parameters, where the rule counts
  Evaluations known_;
  py::list group_dicts_;
  py::dict state_;
  py::set unwritten_;
  References written_;  // this step's parameters
  References alive_;    // this step's buffers, and gradients once they are held
  bool holds_gradients_ = false;
  PyObject* current_ = nullptr;  // the parameter at hand, not yet among written_
  py::list fallback_;
  PyObject* group_dict_ = nullptr;  // the group at hand
  py::object grad_scale_;           // null: none
  py::object found_inf_;
  bool must_skip_ = false;
  bool leave_all_ = false;         // to torch's operators
  bool distributed_ = false;       // a parameter at hand is a DTensor
  bool norms_known_ = false;       // set_norms() came
  std::vector<double> norms_;      // of the last update's sets
  bool norms_on_device_ = false;   // instead
  std::vector<PyObject*> relaid_;  // parameters whose gradient was copied into another order, and is to be zeroed
  std::vector<NewEntry> new_entries_;
  std::vector<Count> counts_;            // to be raised by this update
  std::vector<PyObject*> first_writes_;  // parameters whose state is there, and this update is the first to write it
  int64_t last_updates_ = 0;             // of the parameter at hand
  std::size_t cursor_ = 0;               // the parameter's place among all
  std::vector<Repeated> repeated_;       // of each parameter
  std::vector<Seen> seen_;               // what was found for the parameter at that place last time
  Py_ssize_t behind_ = 0;                // the place in state_ behind the parameter found last
  bool searched_ = false;
};

}  // namespace fastlr
