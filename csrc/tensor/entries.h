// The entries of a parameter group that a step reads, all found in one walk: hundreds of groups cost little.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fastlr {

// Holds what it found, since converting one entry may run Python code that replaces another.
class Entries {
 public:
  Entries() = default;
  ~Entries();
  Entries(const Entries&) = delete;
  Entries& operator=(const Entries&) = delete;

  // Its place, for operator[]; the same name has the same place. Before the first read().
  std::size_t add(const std::string& name);
  // Raises where an entry is missing. False: the same objects as at the last read, but for what put() wrote.
  bool read(PyObject* group);
  PyObject* operator[](std::size_t place) const { return values_[place]; }
  PyObject* name(std::size_t place) const { return names_[place]; }
  void put(PyObject* group, std::size_t place, PyObject* new_reference);

 private:
  bool walk(PyObject* group, bool& changed);
  void look_up(PyObject* group);

  std::vector<PyObject*> names_;
  std::vector<PyObject*> values_;
  // The group's keys in their order, as they were at the last look_up(), and the place of each or -1.
  std::vector<PyObject*> keys_;
  std::vector<int> places_;
  uint64_t version_ = 0;  // of the group at the last read(), with what put() wrote since
};

}  // namespace fastlr
