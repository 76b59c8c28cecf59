// Initial weights as a pure function of (key, index): Philox4x32-10 and Wichura's AS 241, in float64 with only
// + - * / and square root, compiled without contraction to fused multiply-add. The same bits everywhere.
#pragma once

#include <cstdint>

namespace disco {

// The standard normal deviate number `index` of the stream `key`.
double InitialNormal(uint32_t key0, uint32_t key1, uint64_t index);

}  // namespace disco
