// The kernels as drivers that pass 4096 bytes of arguments get them.
#define FASTLR_ARGUMENT_BYTES 4096
#define STANDIN_VARIANT(name) name##_short

#include "kernels_variant.h"
