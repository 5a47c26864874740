// How an entry point of the driver is declared.
#pragma once

#define CU_ENTRY(name) extern "C" __attribute__((visibility("default"))) int name
