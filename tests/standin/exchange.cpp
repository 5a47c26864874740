// Tensors in the CPU's memory that pass for a device's: torch's DLPack exchange table with another device in its
// answers.
#include <cstdint>
#include <utility>

#include "driver.h"
#include "entry.h"

using namespace standin;

namespace {

// The layouts of DLPack 1.x.
struct DLTensor {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct Table {
  uint32_t major;
  uint32_t minor;
  Table* previous;
  void* managed[3];
  int (*view)(void* object, DLTensor* out);
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out);
};

constexpr int32_t kCuda = 2;
constexpr int kMostDevices = 4;

const Table* torch_table = nullptr;

std::size_t extent(const DLTensor& tensor) {
  int64_t last = 0;
  for (int32_t i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] == 0) return 0;
    last += (tensor.shape[i] - 1) * tensor.strides[i];
  }
  return static_cast<std::size_t>(last + 1) * tensor.bits / 8;
}

template <int device>
int view_on(void* object, DLTensor* out) {
  const int failed = torch_table->view(object, out);
  if (failed != 0) return failed;
  out->device_type = kCuda;
  out->device_id = device;
  const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  driver().memory.note(static_cast<char*>(out->data) + out->byte_offset, extent(*out), device);
  return 0;
}

int current_work_stream(int32_t device_type, int32_t device_id, void** out) {
  if (device_type != kCuda) return torch_table->current_work_stream(device_type, device_id, out);
  const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  *out = driver().current_streams.at(static_cast<std::size_t>(device_id));
  return 0;
}

template <int... devices>
const Table* table_of(int device, std::integer_sequence<int, devices...>) {
  static Table tables[] = {
      {torch_table->major, torch_table->minor, nullptr, {}, &view_on<devices>, &current_work_stream}...};
  return &tables[device];
}

}  // namespace

// The table for tensors on this device, around torch's own. nullptr where that has no views, or for other numbers.
extern "C" __attribute__((visibility("default"))) const void* standin_table(const void* torch, int device) {
  torch_table = static_cast<const Table*>(torch);
  if (torch_table->view == nullptr || device < 0 || device >= kMostDevices) return nullptr;
  return table_of(device, std::make_integer_sequence<int, kMostDevices>());
}
