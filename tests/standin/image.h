// What cuModuleLoadData is given: machine code in an ELF file, or PTX.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace standin {

struct Image {
  bool is_ptx = false;
  int architecture = 0;                          // 86 for sm_86, or for PTX of compute_86
  int ptx_version = 0;                           // 88 for 8.8
  std::map<std::string, std::size_t> arguments;  // of each kernel, in bytes
};

// False where it is neither, or damaged.
bool read_image(const void* data, Image& out);

// The newest PTX that a driver of this CUDA version takes.
int newest_ptx(int driver_version);

}  // namespace standin
