// CHECK(condition): ends the program with the place and the condition where it does not hold, in every build type.
#pragma once

#include <cstdio>
#include <cstdlib>

inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, condition);
  std::exit(1);
}

#define CHECK(condition) ((condition) ? static_cast<void>(0) : check_failed(#condition, __FILE__, __LINE__))
