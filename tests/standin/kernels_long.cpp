// The kernels as drivers that pass 32764 bytes of arguments get them.
#define FASTLR_ARGUMENT_BYTES 32764
#define STANDIN_VARIANT(name) name##_long

#include "kernels_variant.h"
