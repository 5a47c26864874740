#include "image.h"

#include <elf.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace standin {
namespace {

constexpr Elf64_Half kCuda = 190;  // EM_CUDA
constexpr unsigned char kNewAbi = 8;
const std::string kInfo = ".nv.info.";

// Records of a section .nv.info.<kernel>: a form, an attribute, then a value of 2 bytes or their number.
enum Form : uint8_t { kHalf = 3, kSized = 4 };
enum Info : uint8_t { kParam = 0x17, kParamBytes = 0x19, kParamV2 = 0x45 };

template <class T>
T at(const char* data, std::size_t offset) {
  T value;
  std::memcpy(&value, data + offset, sizeof value);
  return value;
}

// The bytes of arguments; 0 where the section does not tell.
std::size_t argument_bytes(const char* info, std::size_t size) {
  for (std::size_t i = 0; i + 4 <= size;) {
    const auto form = at<uint8_t>(info, i), attribute = at<uint8_t>(info, i + 1);
    const auto value = at<uint16_t>(info, i + 2);
    if (form == kHalf && attribute == kParamBytes) return value;
    if (form == kSized && attribute == kParamV2 && value >= 12) return at<uint32_t>(info, i + 12);
    if (form == kSized && attribute == kParam && value >= 12) return at<uint32_t>(info, i + 12) >> 18;
    i += form == kSized ? std::size_t{4} + value : 4;
  }
  return 0;
}

bool read_elf(const char* data, Image& out) {
  const auto header = at<Elf64_Ehdr>(data, 0);
  if (header.e_machine != kCuda || header.e_ident[EI_CLASS] != ELFCLASS64) return false;
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum) return false;
  const Elf64_Word flags = header.e_flags;
  out.architecture = static_cast<int>(header.e_ident[EI_ABIVERSION] >= kNewAbi ? flags >> 8 & 0xff : flags & 0xff);
  const auto section = [&](std::size_t i) { return at<Elf64_Shdr>(data, header.e_shoff + i * sizeof(Elf64_Shdr)); };
  const char* names = data + section(header.e_shstrndx).sh_offset;
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr now = section(i);
    const std::string name = names + now.sh_name;
    if (name.rfind(kInfo, 0) != 0) continue;
    out.arguments[name.substr(kInfo.size())] = argument_bytes(data + now.sh_offset, now.sh_size);
  }
  return true;
}

// What stands behind the next `word` from `at` on, which is moved there; nullptr where there is none.
const char* behind(const std::string& text, const std::string& word, std::size_t& at) {
  const std::size_t found = text.find(word, at);
  if (found == std::string::npos) return nullptr;
  at = found + word.size();
  return text.c_str() + at;
}

bool read_ptx(const std::string& text, Image& out) {
  out.is_ptx = true;
  std::size_t at = 0;
  const char* version = behind(text, ".version ", at);
  const char* target = behind(text, ".target sm_", at);
  int major = 0, minor = 0;
  if (version == nullptr || target == nullptr || std::sscanf(version, "%d.%d", &major, &minor) != 2) return false;
  out.ptx_version = 10 * major + minor;
  out.architecture = std::atoi(target);
  while (const char* name = behind(text, ".entry ", at)) {
    const std::string kernel(name, std::strcspn(name, "( \n"));
    const char* bytes = behind(text, kernel + "_param_0[", at);
    if (bytes == nullptr) return false;
    out.arguments[kernel] = std::strtoul(bytes, nullptr, 10);
  }
  return true;
}

}  // namespace

bool read_image(const void* data, Image& out) {
  if (data == nullptr) return false;
  const auto* bytes = static_cast<const char*>(data);
  return std::strncmp(bytes, ELFMAG, SELFMAG) == 0 ? read_elf(bytes, out) : read_ptx(bytes, out);
}

int newest_ptx(int driver_version) {
  const int major = driver_version / 1000, minor = driver_version % 1000 / 10;
  // CUDA 12.6 brought no new PTX.
  return (major - 4) * 10 + minor - (major == 12 && minor >= 6 ? 1 : 0);
}

}  // namespace standin
