#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>

#include "handles.h"
#include "initial_weights.h"
#include "runtime.h"

namespace disco {

namespace {

napi_value Sizes(Arguments& a) {
  const at::Tensor& tensor = Handles().Get(a.Number(0));
  std::vector<double> sizes(tensor.sizes().begin(), tensor.sizes().end());
  return ToNumbers(a.env(), sizes);
}
napi_value ScalarTypeCode(Arguments& a) {
  return ToNumber(a.env(), static_cast<double>(Handles().Get(a.Number(0)).scalar_type()));
}
napi_value DeviceName(Arguments& a) { return ToString(a.env(), Handles().Get(a.Number(0)).device().str()); }
napi_value IsContiguous(Arguments& a) { return ToBoolean(a.env(), Handles().Get(a.Number(0)).is_contiguous()); }

// item(handle): the one element as a number
napi_value Item(Arguments& a) {
  const at::Scalar value = Handles().Get(a.Number(0)).item();
  return ToNumber(a.env(), value.toDouble());
}

// fromBytes(bytes, sizes, scalarType): a CPU tensor with a copy of the bytes
napi_value FromBytes(Arguments& a) {
  const auto [data, length] = a.Bytes(0);
  std::vector<int64_t> sizes;
  int64_t elements = 1;
  for (const double size : a.Numbers(1)) {
    TORCH_CHECK_VALUE(size >= 0 && size == static_cast<double>(static_cast<int64_t>(size)), "shape: found ", size);
    TORCH_CHECK_VALUE(!__builtin_mul_overflow(elements, static_cast<int64_t>(size), &elements), "shape: too large");
    sizes.push_back(static_cast<int64_t>(size));
  }
  const auto type = static_cast<c10::ScalarType>(a.Integer(2, 0, static_cast<int64_t>(c10::ScalarType::NumOptions) - 1));
  const auto item_size = static_cast<int64_t>(c10::elementSize(type));
  int64_t expected = 0;
  TORCH_CHECK_VALUE(!__builtin_mul_overflow(elements, item_size, &expected) && expected == static_cast<int64_t>(length),
                    "the shape needs ", elements, " elements of ", item_size, " bytes, found ", length, " bytes");
  at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(type));
  if (length > 0) std::memcpy(tensor.mutable_data_ptr(), data, length);
  return ToNumber(a.env(), Handles().Add(std::move(tensor)));
}

// The bytes [offset, offset + length) of a contiguous CPU tensor.
uint8_t* Range(const at::Tensor& tensor, double offset, size_t length) {
  TORCH_CHECK_VALUE(tensor.device().is_cpu() && tensor.layout() == at::kStrided, "bytes are moved on the CPU only");
  TORCH_CHECK_VALUE(tensor.is_contiguous(), "bytes are moved to and from contiguous tensors only");
  const auto size = static_cast<double>(tensor.nbytes());
  TORCH_CHECK_VALUE(offset >= 0 && offset == static_cast<double>(static_cast<int64_t>(offset)) &&
                        offset + static_cast<double>(length) <= size,
                    "bytes ", offset, " to ", offset + static_cast<double>(length), " of a tensor of ", size, " bytes");
  return static_cast<uint8_t*>(tensor.data_ptr()) + static_cast<size_t>(offset);
}

// readBytes(handle, offset, into)
napi_value ReadBytes(Arguments& a) {
  const auto [data, length] = a.Bytes(2);
  const uint8_t* from = Range(Handles().Get(a.Number(0)), a.Number(1), length);
  if (length > 0) std::memcpy(data, from, length);
  return Undefined(a.env());
}

// writeBytes(handle, offset, from)
napi_value WriteBytes(Arguments& a) {
  const auto [data, length] = a.Bytes(2);
  uint8_t* to = Range(Handles().Get(a.Number(0)), a.Number(1), length);
  if (length > 0) std::memcpy(to, data, length);
  return Undefined(a.env());
}

// initNormal(handle, key, mean, std): element i becomes mean + std * InitialNormal(key, i)
napi_value InitNormal(Arguments& a) {
  const at::Tensor& tensor = Handles().Get(a.Number(0));
  const auto [key, length] = a.Bytes(1);
  TORCH_CHECK_VALUE(length == 8, "key: expected 8 bytes, found ", length);
  TORCH_CHECK_VALUE(tensor.device().is_cpu() && tensor.is_contiguous(), "expected a contiguous CPU tensor");
  const auto word = [key = key](size_t i) {
    return static_cast<uint32_t>(key[i]) | static_cast<uint32_t>(key[i + 1]) << 8 | static_cast<uint32_t>(key[i + 2]) << 16 |
           static_cast<uint32_t>(key[i + 3]) << 24;
  };
  const uint32_t key0 = word(0);
  const uint32_t key1 = word(4);
  const double mean = a.Number(2);
  const double deviation = a.Number(3);
  const auto fill = [&](auto* values) {
    at::parallel_for(0, tensor.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double value = mean + deviation * InitialNormal(key0, key1, static_cast<uint64_t>(i));
        using Element = std::remove_reference_t<decltype(*values)>;
        if constexpr (std::is_same_v<Element, double>) {
          values[i] = value;
        } else {
          values[i] = static_cast<Element>(static_cast<float>(value));
        }
      }
    });
  };
  switch (tensor.scalar_type()) {
    case at::kFloat:
      fill(static_cast<float*>(tensor.data_ptr()));
      break;
    case at::kDouble:
      fill(static_cast<double*>(tensor.data_ptr()));
      break;
    case at::kBFloat16:
      fill(static_cast<at::BFloat16*>(tensor.data_ptr()));
      break;
    default:
      TORCH_CHECK_TYPE(false, "expected float32, float64 or bfloat16, found ", tensor.dtype());
  }
  return Undefined(a.env());
}

}  // namespace

const std::vector<Function>& DataFunctions() {
  static const std::vector<Function> functions = {
      {"sizes", Guard<Sizes>},           {"scalarType", Guard<ScalarTypeCode>},
      {"device", Guard<DeviceName>},     {"isContiguous", Guard<IsContiguous>},
      {"item", Guard<Item>},             {"fromBytes", Guard<FromBytes>},
      {"readBytes", Guard<ReadBytes>},   {"writeBytes", Guard<WriteBytes>},
      {"initNormal", Guard<InitNormal>},
  };
  return functions;
}

}  // namespace disco
