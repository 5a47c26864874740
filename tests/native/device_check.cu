// The shared arithmetic in kernels, one for each rule and form and one for schedules: compiled for GPUs, never run.
#define FASTLR_ARCH device
#include <cstdint>

#include "rules/sgd.h"
#include "schedule/evaluate.h"

namespace fastlr {
namespace FASTLR_ARCH {

using sgd::Momentum;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

template <class T, Momentum momentum, bool nesterov, bool decay>
__global__ void sgd_kernel(const __grid_constant__ SgdHyper hyper, T* param, const T* grad, T* buffer, int64_t size) {
  using C = typename Compute<T>::type;
  const int64_t i = thread_index();
  if (i >= size) return;
  const C old = momentum == Momentum::later ? load(buffer[i]) : C(0);
  const sgd::Updated<C> now =
      sgd::update<momentum, nesterov, decay, C>(sgd::scalars<C>(hyper), load(param[i]), load(grad[i]), old);
  store(now.param, param[i]);
  if (momentum != Momentum::off) store(now.buffer, buffer[i]);
}

__global__ void evaluate_kernel(const __grid_constant__ schedule::ProgramView program, const int64_t* steps,
                                int64_t size, double* out) {
  const int64_t i = thread_index();
  if (i < size) out[i] = schedule::evaluate(program, steps[i]);
}

#define SGD_KERNEL(T, momentum, nesterov, decay)                                                                    \
  template __global__ void sgd_kernel<T, momentum, nesterov, decay>(const __grid_constant__ SgdHyper, T*, const T*, \
                                                                    T*, int64_t);
#define SGD_KERNELS_OF(T, decay)               \
  SGD_KERNEL(T, Momentum::off, false, decay)   \
  SGD_KERNEL(T, Momentum::first, false, decay) \
  SGD_KERNEL(T, Momentum::first, true, decay)  \
  SGD_KERNEL(T, Momentum::later, false, decay) \
  SGD_KERNEL(T, Momentum::later, true, decay)
#define SGD_KERNELS(T)     \
  SGD_KERNELS_OF(T, false) \
  SGD_KERNELS_OF(T, true)

SGD_KERNELS(float)
SGD_KERNELS(double)
SGD_KERNELS(Half)
SGD_KERNELS(BFloat16)

}  // namespace FASTLR_ARCH
}  // namespace fastlr
