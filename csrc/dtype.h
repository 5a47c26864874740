// The element types fastlr updates natively, and the one switch over them.
#pragma once

#include <cstdint>

namespace fastlr {

enum class DType : int32_t { float32, float64, float16, bfloat16, unsupported };
constexpr int kDTypeCount = 4;

constexpr int element_size(DType dtype) { return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2; }

constexpr const char* name(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
    case DType::unsupported:
      break;
  }
  return "unsupported";
}

}  // namespace fastlr
