// FASTLR_HD marks a function that the host and the device both run.
#pragma once

#ifdef __CUDACC__
#define FASTLR_HD __host__ __device__
#else
#define FASTLR_HD
#endif
