// The one way to raise: "<problem>: <value>. <what to do>".
#pragma once

#include <stdexcept>
#include <string>

namespace fastlr {

enum class ErrorKind { value, type, runtime };

// bindings.cpp turns this into Python's ValueError, TypeError or RuntimeError.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

[[noreturn]] void raise(ErrorKind kind, const std::string& problem, const std::string& value,
                        const std::string& remedy);

}  // namespace fastlr
