#include "validate.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace disco {

namespace {

// aten::_fused_adamw_(self[], grads[], exp_avgs[], exp_avg_sqs[], max_exp_avg_sqs[], state_steps[], ...): the
// kernels walk raw pointers and compare nothing.
void FusedAdamW(const torch::jit::Stack& stack) {
  const auto parameters = stack[0].toTensorVector();
  const auto steps = stack[5].toTensorVector();
  TORCH_CHECK_VALUE(steps.size() == parameters.size(), "state_steps: expected ", parameters.size(), " tensors, found ",
                    steps.size());
  const auto expect_like = [&](size_t position, const char* name, bool may_be_empty) {
    const auto others = stack[position].toTensorVector();
    if (may_be_empty && others.empty()) return;
    TORCH_CHECK_VALUE(others.size() == parameters.size(), name, ": expected ", parameters.size(), " tensors, found ",
                      others.size());
    for (size_t i = 0; i < others.size(); ++i) {
      const auto& a = parameters[i];
      const auto& b = others[i];
      TORCH_CHECK_VALUE(b.defined() && a.sizes() == b.sizes() && a.dtype() == b.dtype() && a.device() == b.device(), name,
                        "[", i, "]: shape, dtype and device must be those of the parameter");
      TORCH_CHECK_VALUE(b.is_contiguous(), name, "[", i, "]: must be contiguous");
    }
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    TORCH_CHECK_VALUE(parameters[i].is_contiguous() && parameters[i].is_floating_point(), "self[", i,
                      "]: must be a contiguous tensor of a floating-point dtype");
    TORCH_CHECK_VALUE(steps[i].numel() == 1 && steps[i].scalar_type() == at::kFloat, "state_steps[", i,
                      "]: must hold one float32");
  }
  const bool amsgrad = stack[11].toBool();
  expect_like(1, "grads", false);
  expect_like(2, "exp_avgs", false);
  expect_like(3, "exp_avg_sqs", false);
  expect_like(4, "max_exp_avg_sqs", !amsgrad);
}

// aten::histc.out and aten::histc allocate `bins` counters before they look at anything.
void Histc(const torch::jit::Stack& stack) {
  const int64_t bins = stack[1].toInt();
  TORCH_CHECK_VALUE(bins >= 1 && bins <= (int64_t{1} << 31), "bins: expected 1 to 2^31, found ", bins);
}

}  // namespace

Validator ValidatorFor(const std::string& name) {
  if (name == "aten::_fused_adamw_") return FusedAdamW;
  if (name == "aten::histc") return Histc;
  return {};
}

}  // namespace disco
