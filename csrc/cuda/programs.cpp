#include "cuda/programs.h"

#include <cstring>
#include <vector>

namespace fastlr {
namespace cuda {
namespace {

template <class T>
std::size_t append(std::vector<char>& bytes, const std::vector<T>& array) {
  static_assert(alignof(T) <= 8, "each array begins at a multiple of 8");
  const std::size_t begin = bytes.size();
  bytes.resize(begin + (array.size() * sizeof(T) + 7) / 8 * 8);
  if (!array.empty()) std::memcpy(bytes.data() + begin, array.data(), array.size() * sizeof(T));
  return begin;
}

std::shared_ptr<const DeviceProgram> copied(const schedule::Program& program, const Device& device) {
  std::vector<char> bytes;
  const std::size_t code = append(bytes, program.code());
  const std::size_t bounds = append(bytes, program.bounds());
  const std::size_t values = append(bytes, program.values());
  auto copy = std::make_shared<DeviceProgram>();
  copy->memory = Memory(device, bytes.size());
  device.upload(copy->memory.address(), bytes.data(), bytes.size());
  const auto at = [&](std::size_t offset) { return reinterpret_cast<const char*>(copy->memory.address() + offset); };
  copy->view = program.view();
  copy->view.code = reinterpret_cast<const schedule::Instruction*>(at(code));
  copy->view.bounds = reinterpret_cast<const int64_t*>(at(bounds));
  copy->view.values = reinterpret_cast<const double*>(at(values));
  return copy;
}

}  // namespace

std::shared_ptr<const DeviceProgram> on_device(const schedule::Program& program, const Device& device) {
  auto& copies = program.device_copies();
  const auto place = static_cast<std::size_t>(device.ordinal());
  if (copies.size() <= place) copies.resize(place + 1);
  if (copies[place] == nullptr) copies[place] = copied(program, device);
  return std::static_pointer_cast<const DeviceProgram>(copies[place]);
}

}  // namespace cuda
}  // namespace fastlr
