#include "runtime.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/version.h>

#ifdef __linux__
#include <signal.h>
#include <sys/prctl.h>
#endif
#include <unistd.h>

#include "handles.h"

namespace disco {

namespace {

std::vector<at::Tensor> Tensors(Arguments& a, size_t i) {
  std::vector<at::Tensor> tensors;
  if (a.IsNullish(i)) return tensors;
  for (const double handle : a.Numbers(i)) tensors.push_back(handle == 0 ? at::Tensor() : Handles().Get(handle));
  return tensors;
}

at::Generator Generator(Arguments& a, size_t i) {
  const c10::Device device(a.String(i));
  return at::globalContext().defaultGenerator(device);
}

napi_value BeginScope(Arguments& a) {
  Handles().BeginScope();
  return Undefined(a.env());
}
napi_value EndScope(Arguments& a) {
  Handles().EndScope(a.Numbers(0));
  return Undefined(a.env());
}
napi_value ScopeDepth(Arguments& a) { return ToNumber(a.env(), static_cast<double>(Handles().ScopeDepth())); }
napi_value Free(Arguments& a) { return ToBoolean(a.env(), Handles().Free(a.Number(0))); }
napi_value LiveTensors(Arguments& a) { return ToNumber(a.env(), static_cast<double>(Handles().Live())); }

// backward(outputs, gradients | null, retainGraph)
napi_value Backward(Arguments& a) {
  torch::autograd::backward(Tensors(a, 0), Tensors(a, 1), a.Boolean(2));
  return Undefined(a.env());
}

// grad(outputs, inputs, gradients | null, retainGraph, allowUnused): handles, 0 where unused
napi_value Grad(Arguments& a) {
  const auto gradients =
      torch::autograd::grad(Tensors(a, 0), Tensors(a, 1), Tensors(a, 2), a.Boolean(3), false, a.Boolean(4));
  std::vector<double> handles;
  for (const at::Tensor& gradient : gradients) handles.push_back(Handles().Add(gradient));
  return ToNumbers(a.env(), handles);
}

napi_value GetGrad(Arguments& a) { return ToNumber(a.env(), Handles().Add(Handles().Get(a.Number(0)).grad())); }
napi_value SetGrad(Arguments& a) {
  const at::Tensor& tensor = Handles().Get(a.Number(0));
  TORCH_CHECK_VALUE(tensor.is_leaf(), "only a leaf holds a gradient");
  if (a.IsNullish(1)) {
    tensor.mutable_grad().reset();
    return Undefined(a.env());
  }
  const at::Tensor& gradient = Handles().Get(a.Number(1));
  TORCH_CHECK_VALUE(gradient.sizes() == tensor.sizes() && gradient.dtype() == tensor.dtype() &&
                        gradient.device() == tensor.device(),
                    "a gradient has the shape, dtype and device of its tensor");
  tensor.mutable_grad() = gradient;
  return Undefined(a.env());
}
napi_value RequiresGrad(Arguments& a) { return ToBoolean(a.env(), Handles().Get(a.Number(0)).requires_grad()); }
napi_value GetGradMode(Arguments& a) { return ToBoolean(a.env(), at::GradMode::is_enabled()); }
napi_value SetGradMode(Arguments& a) {
  at::GradMode::set_enabled(a.Boolean(0));
  return Undefined(a.env());
}

napi_value ManualSeed(Arguments& a) {
  at::manual_seed(static_cast<uint64_t>(a.Integer(0, 0, int64_t{1} << 53)));
  return Undefined(a.env());
}
napi_value GetRngState(Arguments& a) {
  auto generator = Generator(a, 0);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return ToNumber(a.env(), Handles().Add(generator.get_state()));
}
napi_value SetRngState(Arguments& a) {
  auto generator = Generator(a, 0);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(Handles().Get(a.Number(1)));
  return Undefined(a.env());
}

napi_value GetNumThreads(Arguments& a) { return ToNumber(a.env(), at::get_num_threads()); }
napi_value SetNumThreads(Arguments& a) {
  at::set_num_threads(static_cast<int>(a.Integer(0, 1, 4096)));
  return Undefined(a.env());
}
napi_value GetDeterministic(Arguments& a) {
  return ToBoolean(a.env(), at::globalContext().deterministicAlgorithms());
}
napi_value SetDeterministic(Arguments& a) {
  at::globalContext().setDeterministicAlgorithms(a.Boolean(0), /*warn_only=*/false);
  // Filling fresh memory with NaN is a debugging aid that costs a pass over every new tensor.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  return Undefined(a.env());
}
// setMatmulPrecision("highest" | "high" | "medium"): whether float32 products may use TF32.
napi_value SetMatmulPrecision(Arguments& a) {
  at::globalContext().setFloat32MatmulPrecision(a.String(0));
  return Undefined(a.env());
}
// setSdpBackends(flash, memoryEfficient, math)
napi_value SetSdpBackends(Arguments& a) {
  at::globalContext().setSDPUseFlash(a.Boolean(0));
  at::globalContext().setSDPUseMemEfficient(a.Boolean(1));
  at::globalContext().setSDPUseMath(a.Boolean(2));
  return Undefined(a.env());
}

napi_value AcceleratorName(Arguments& a) {
  const auto type = at::getAccelerator(false);
  return ToString(a.env(), type.has_value() && at::accelerator::deviceCount() > 0
                               ? c10::DeviceTypeName(*type, /*lower_case=*/true)
                               : "");
}
napi_value AcceleratorCount(Arguments& a) {
  return ToNumber(a.env(), at::getAccelerator(false).has_value() ? at::accelerator::deviceCount() : 0);
}
napi_value Synchronize(Arguments& a) {
  const c10::Device device(a.String(0));
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
  return Undefined(a.env());
}
// memoryStatistics(device): [allocated now, allocated at most, reserved now, reserved at most] in bytes
napi_value MemoryStatistics(Arguments& a) {
  const c10::Device device(a.String(0));
  TORCH_CHECK_VALUE(!device.is_cpu(), "the CPU allocator keeps no statistics");
  const auto statistics = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return ToNumbers(a.env(), {static_cast<double>(statistics.allocated_bytes[all].current),
                             static_cast<double>(statistics.allocated_bytes[all].peak),
                             static_cast<double>(statistics.reserved_bytes[all].current),
                             static_cast<double>(statistics.reserved_bytes[all].peak)});
}
napi_value ResetPeakMemory(Arguments& a) {
  const c10::Device device(a.String(0));
  if (!device.is_cpu()) at::getDeviceAllocator(device.type())->resetPeakStats(device.index());
  return Undefined(a.env());
}
napi_value EmptyCache(Arguments& a) {
  const c10::Device device(a.String(0));
  if (!device.is_cpu()) at::getDeviceAllocator(device.type())->emptyCache();
  return Undefined(a.env());
}

// openLibrary(path): registers the operators of a TORCH_LIBRARY object.
napi_value OpenLibrary(Arguments& a) {
  const std::string path = a.String(0);
  TORCH_CHECK(dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr, dlerror());
  return Undefined(a.env());
}

// dieWithParent(parent): the kernel kills this process when its parent goes, even while an operator runs.
napi_value DieWithParent(Arguments& a) {
#ifdef __linux__
  const int64_t parent = a.Integer(0, 1, int64_t{1} << 31);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have gone before the request was made.
  if (getppid() != parent) raise(SIGKILL);
#endif
  return Undefined(a.env());
}

napi_value Version(Arguments& a) { return ToString(a.env(), TORCH_VERSION); }

}  // namespace

const std::vector<Function>& RuntimeFunctions() {
  static const std::vector<Function> functions = {
      {"beginScope", Guard<BeginScope>},
      {"endScope", Guard<EndScope>},
      {"scopeDepth", Guard<ScopeDepth>},
      {"free", Guard<Free>},
      {"liveTensors", Guard<LiveTensors>},
      {"backward", Guard<Backward>},
      {"grad", Guard<Grad>},
      {"getGrad", Guard<GetGrad>},
      {"setGrad", Guard<SetGrad>},
      {"requiresGrad", Guard<RequiresGrad>},
      {"getGradMode", Guard<GetGradMode>},
      {"setGradMode", Guard<SetGradMode>},
      {"manualSeed", Guard<ManualSeed>},
      {"getRngState", Guard<GetRngState>},
      {"setRngState", Guard<SetRngState>},
      {"getNumThreads", Guard<GetNumThreads>},
      {"setNumThreads", Guard<SetNumThreads>},
      {"getDeterministic", Guard<GetDeterministic>},
      {"setDeterministic", Guard<SetDeterministic>},
      {"setMatmulPrecision", Guard<SetMatmulPrecision>},
      {"setSdpBackends", Guard<SetSdpBackends>},
      {"acceleratorName", Guard<AcceleratorName>},
      {"acceleratorCount", Guard<AcceleratorCount>},
      {"synchronize", Guard<Synchronize>},
      {"memoryStatistics", Guard<MemoryStatistics>},
      {"resetPeakMemory", Guard<ResetPeakMemory>},
      {"emptyCache", Guard<EmptyCache>},
      {"openLibrary", Guard<OpenLibrary>},
      {"dieWithParent", Guard<DieWithParent>},
      {"version", Guard<Version>},
  };
  return functions;
}

}  // namespace disco
