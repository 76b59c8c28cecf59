// Operators that trust their arguments: checked here before the dispatcher sees them, so that no call can crash
// the process.
#pragma once

#include <ATen/core/stack.h>

#include <functional>
#include <string>

namespace disco {

using Validator = std::function<void(const torch::jit::Stack&)>;

// The check of an operator, or an empty function when PyTorch checks everything itself.
Validator ValidatorFor(const std::string& name);

}  // namespace disco
