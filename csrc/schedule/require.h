// The refusals of the program builder.
#pragma once

#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>

#include "check.h"
#include "schedule/instruction.h"

namespace fastlr {
namespace schedule {

template <class T>
std::string text(T value) {
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}

inline void require_finite(double value, const char* name) {
  if (!std::isfinite(value)) {
    raise(ErrorKind::value, std::string(name) + " is not finite", text(value), "Use a finite number.");
  }
}

inline void require_positive(double value, const char* name) {
  require_finite(value, name);
  if (value <= 0.0) {
    raise(ErrorKind::value, std::string(name) + " is not positive", text(value), "Use a number above 0.");
  }
}

inline void require_step(double step, const char* name) {
  if (!(std::fabs(step) <= static_cast<double>(kMaxSteps))) {
    raise(ErrorKind::value, std::string(name) + " is out of range", text(step), "Steps go up to 2**53.");
  }
}

inline void require_order(double origin, double finish) {
  require_step(origin, "origin");
  require_step(finish, "finish");
  if (finish <= origin) {
    raise(ErrorKind::value, "finish is not after origin", text(origin) + " to " + text(finish),
          "Give the ramp a length above 0.");
  }
}

inline void require_whole(double value, const char* name) {
  if (!(value >= 1.0 && value <= static_cast<double>(kMaxSteps)) || value != std::floor(value)) {
    raise(ErrorKind::value, std::string(name) + " is not a number of steps", text(value), "Use 1 to 2**53.");
  }
}

inline void require_count(int64_t count, int64_t least, const char* name) {
  if (count < least || count > kMaxSteps) {
    raise(ErrorKind::value, std::string(name) + " is out of range", text(count), "Use " + text(least) + " to 2**53.");
  }
}

}  // namespace schedule
}  // namespace fastlr
