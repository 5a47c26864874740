// The machine code that the build embeds: kernels.cu for each architecture, compiled by compile_images.py.
#pragma once

#include <cstddef>
#include <vector>

namespace fastlr {
namespace cuda {

struct Image {
  int architecture;  // 86 for sm_86, or for compute_86
  bool is_ptx;
  bool long_arguments;        // kernels take more than 4096 bytes of arguments: drivers of CUDA 12.1 or later
  const unsigned char* data;  // zero-terminated when PTX
  std::size_t size;
};

// Empty when built with FASTLR_CUDA=OFF.
std::vector<Image> images();

}  // namespace cuda
}  // namespace fastlr
