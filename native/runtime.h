// What the dispatcher does not offer: handles and scopes, autograd, random numbers, threads, devices, memory
// statistics and moving bytes in and out of tensors.
#pragma once

#include "node.h"

namespace disco {

// The functions of runtime.cc and data.cc, for the module's table.
const std::vector<Function>& RuntimeFunctions();
const std::vector<Function>& DataFunctions();

}  // namespace disco
