// FASTLR_ARCH names the instruction set a translation unit is compiled for. Every inline function with arithmetic in it
// lives in that namespace: compiled twice under one name, the linker could keep the copy that this CPU cannot run.
#pragma once

#ifndef FASTLR_ARCH
#define FASTLR_ARCH base
#endif
