// Machine code without code: an ELF file that tells its architecture and how many bytes of arguments each kernel takes,
// which is all that the stand-in reads of a real one.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cuda/state.h"
#include "each_rule.h"

namespace cuda_test {

using Kernels = std::vector<std::pair<std::string, std::size_t>>;

inline Kernels product_kernels(bool long_arguments) {
  using namespace fastlr::cuda;
  Kernels all;
  for_each_rule([&](auto rule) {
    constexpr int kStates = decltype(rule)::kStates;
    const std::size_t step = long_arguments ? sizeof(StepArguments<kStates, kLongArguments>)
                                            : sizeof(StepArguments<kStates, kShortArguments>);
    const std::string prefix = "fastlr_" + info_of(rule).name + "_";
    for (const char* part : {"float32", "bfloat16", "mixed"}) {
      all.emplace_back(prefix + part, step);
    }
    all.emplace_back(prefix + "recipe", long_arguments ? sizeof(RecipeArguments<kStates, kLongArguments>)
                                                       : sizeof(RecipeArguments<kStates, kShortArguments>));
    all.emplace_back(prefix + "prepare", sizeof(PrepareArguments));
  });
  all.emplace_back("fastlr_evaluate", long_arguments ? sizeof(EvaluateArguments<kLongPrograms>)
                                                     : sizeof(EvaluateArguments<kShortPrograms>));
  all.emplace_back("fastlr_norm",
                   long_arguments ? sizeof(NormArguments<kLongArguments>) : sizeof(NormArguments<kShortArguments>));
  return all;
}

template <class T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline std::string machine_code(int architecture, const Kernels& kernels) {
  std::string names(1, '\0'), body, table(sizeof(Elf64_Shdr), '\0');
  const auto section = [&](const std::string& name, const std::string& content) {
    Elf64_Shdr header{};
    header.sh_name = static_cast<Elf64_Word>(names.size());
    header.sh_type = SHT_PROGBITS;
    header.sh_offset = sizeof(Elf64_Ehdr) + body.size();
    header.sh_size = content.size();
    names += name + '\0';
    body += content;
    append(table, header);
  };
  for (const auto& [kernel, bytes] : kernels) {
    std::string info = {4, 0x45, 12, 0};  // the parameter: its number, place and size
    append(info, uint64_t{0});
    append(info, static_cast<uint32_t>(bytes));
    section(".nv.info." + kernel, info);
  }
  section(".shstrtab", names + std::string(".shstrtab") + '\0');
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG "\x02\x01\x01\x33\x07", 9);
  header.e_type = ET_EXEC;
  header.e_machine = 190;
  header.e_flags = static_cast<Elf64_Word>(architecture << 16 | 0x500 | architecture);
  header.e_shoff = sizeof header + body.size();
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<Elf64_Half>(kernels.size() + 2);
  header.e_shstrndx = static_cast<Elf64_Half>(kernels.size() + 1);
  std::string image;
  append(image, header);
  return image + body + table;
}

}  // namespace cuda_test
