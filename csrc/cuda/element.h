// Elements in registers. 16-bit ones are converted by the device's own instructions, which round as number.h does.
#pragma once

#include <cstdint>
#include <cstring>

#include "arch.h"
#include "cuda/state.h"
#include "number.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

template <class T>
__device__ inline typename Compute<T>::type load_element(T value) {
  return load(value);
}

template <class T>
__device__ inline T store_element(typename Compute<T>::type value) {
  T out;
  store(value, out);
  return out;
}

#ifdef __CUDA_ARCH__
template <>
__device__ inline float load_element<Half>(Half value) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(value.bits));
  return out;
}

template <>
__device__ inline Half store_element<Half>(float value) {
  Half out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
  return out;
}

#if __CUDA_ARCH__ >= 800
template <>
__device__ inline BFloat16 store_element<BFloat16>(float value) {
  BFloat16 out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
  return out;
}
#endif
#endif

using ::fastlr::cuda::kVectorBytes;

// 16 bytes as one access. Lanes are taken out and put in word by word: copied as an array of 16-bit elements, the
// vector would be stored in pieces.
struct alignas(kVectorBytes) Bits {
  uint32_t word[kVectorBytes / 4];
};

// Written out, since ptxas splits some plain stores of 16 bytes in two.
__device__ inline void store_bits(void* to, const Bits& bits) {
#ifdef __CUDA_ARCH__
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bits.word[0]), "r"(bits.word[1]),
               "r"(bits.word[2]), "r"(bits.word[3])
               : "memory");
#else
  *static_cast<Bits*>(to) = bits;
#endif
}

struct alignas(kVectorBytes / 2) HalfBits {
  uint32_t word[kVectorBytes / 8];
};

// `bytes` as one access, or as several of 16.
template <int32_t bytes>
__device__ inline void load_words(const void* from, Bits* to) {
  if constexpr (bytes >= kVectorBytes) {
#pragma unroll
    for (int32_t v = 0; v < bytes / kVectorBytes; ++v) to[v] = static_cast<const Bits*>(from)[v];
  } else if constexpr (bytes == 8) {
    const HalfBits half = *static_cast<const HalfBits*>(from);
    to->word[0] = half.word[0];
    to->word[1] = half.word[1];
  } else {
    to->word[0] = bytes == 4 ? *static_cast<const uint32_t*>(from) : *static_cast<const uint16_t*>(from);
  }
}

template <int32_t bytes>
__device__ inline void store_words(void* to, const Bits& bits) {
  if constexpr (bytes == kVectorBytes) {
    store_bits(to, bits);
  } else if constexpr (bytes == 8) {
    *static_cast<HalfBits*>(to) = {{bits.word[0], bits.word[1]}};
  } else if constexpr (bytes == 4) {
    *static_cast<uint32_t*>(to) = bits.word[0];
  } else {
    *static_cast<uint16_t*>(to) = static_cast<uint16_t>(bits.word[0]);
  }
}

__device__ inline uint32_t misalignment(const void* address) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(address)) % kVectorBytes;
}

template <class T>
constexpr int32_t kLanes = kVectorBytes / static_cast<int32_t>(sizeof(T));

template <class T>
__device__ inline T lane_of(const Bits& bits, int32_t lane) {
  T out;
  if constexpr (sizeof(T) == 2) {
    out.bits = static_cast<uint16_t>(bits.word[lane / 2] >> (16 * (lane % 2)));
  } else {
    memcpy(&out, &bits.word[lane * static_cast<int32_t>(sizeof(T)) / 4], sizeof out);
  }
  return out;
}

template <class T>
__device__ inline void put_lane(Bits& bits, int32_t lane, T value) {
  if constexpr (sizeof(T) == 2) {
    const int32_t shift = 16 * (lane % 2);
    uint32_t& word = bits.word[lane / 2];
    word = (word & ~(0xffffu << shift)) | (static_cast<uint32_t>(value.bits) << shift);
  } else {
    memcpy(&bits.word[lane * static_cast<int32_t>(sizeof(T)) / 4], &value, sizeof value);
  }
}

// Calls `visit` with a value of the type.
template <bool has_double, class Visit>
__device__ inline void visit_type(DType dtype, Visit visit) {
  if constexpr (has_double) {
    if (dtype == DType::float64) return visit(double());
  }
  if (dtype == DType::float32) return visit(float());
  if (dtype == DType::float16) return visit(Half());
  visit(BFloat16());
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
