#include "call.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cmath>
#include <memory>
#include <sstream>

#include "handles.h"
#include "validate.h"

namespace disco {

namespace {

constexpr size_t kBufferSize = 1 << 16;

struct Parameter {
  std::string name;
  c10::TypeKind kind;          // of the type inside an optional
  c10::TypeKind element;       // of a list's elements
  bool element_optional = false;
  bool optional = false;
  int64_t fixed_size = 0;      // int[2] takes one number for all
  std::optional<c10::IValue> fallback;
};

struct Operator {
  std::string name;
  c10::OperatorHandle handle;
  std::vector<Parameter> parameters;
  Validator validate;
};

std::vector<double>& Buffer() {
  static std::vector<double>& buffer = *new std::vector<double>(kBufferSize);
  return buffer;
}

std::vector<std::unique_ptr<Operator>>& Operators() {
  static auto& operators = *new std::vector<std::unique_ptr<Operator>>();
  return operators;
}

std::vector<std::string>& Strings() {
  static auto& strings = *new std::vector<std::string>();
  return strings;
}

Parameter Describe(const c10::Argument& argument) {
  Parameter parameter;
  parameter.name = argument.name();
  c10::TypePtr type = argument.real_type();
  if (type->kind() == c10::TypeKind::OptionalType) {
    parameter.optional = true;
    type = type->castRaw<c10::OptionalType>()->getElementType();
  }
  parameter.kind = type->kind();
  parameter.element = c10::TypeKind::AnyType;
  if (parameter.kind == c10::TypeKind::ListType) {
    c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
    if (element->kind() == c10::TypeKind::OptionalType) {
      parameter.element_optional = true;
      element = element->castRaw<c10::OptionalType>()->getElementType();
    }
    parameter.element = element->kind();
  }
  if (argument.N().has_value()) parameter.fixed_size = *argument.N();
  if (argument.default_value().has_value()) parameter.fallback = *argument.default_value();
  return parameter;
}

int64_t ToInteger(double value, const Parameter& parameter) {
  TORCH_CHECK_TYPE(value == std::floor(value) && std::abs(value) <= 9223372036854774784.0, parameter.name,
                   ": expected a whole number, found ", value);
  return static_cast<int64_t>(value);
}

// Reads one call's arguments against its operator's schema.
class Reader {
 public:
  Reader(const Operator& op, size_t count) : op_(op), cursor_(Buffer().data()), end_(cursor_ + count) {}

  void Read(torch::jit::Stack& stack) {
    for (const Parameter& parameter : op_.parameters) stack.push_back(ReadOne(parameter));
    TORCH_CHECK_TYPE(cursor_ == end_, "too many arguments");
  }

 private:
  double Next() {
    TORCH_CHECK_TYPE(cursor_ < end_, "too few arguments");
    return *cursor_++;
  }

  size_t Count() {
    const double count = Next();
    TORCH_CHECK_TYPE(count >= 0 && count <= static_cast<double>(end_ - cursor_), "a list runs past the arguments");
    return static_cast<size_t>(count);
  }

  [[noreturn]] void Refuse(const Parameter& parameter, const char* found) {
    TORCH_CHECK_TYPE(false, parameter.name, ": a ", found, " does not fit ", c10::typeKindToString(parameter.kind),
                     parameter.kind == c10::TypeKind::ListType ? std::string(" of ") + c10::typeKindToString(parameter.element)
                                                               : std::string());
  }

  c10::IValue ReadOne(const Parameter& parameter) {
    const int tag = static_cast<int>(Next());
    switch (static_cast<Tag>(tag)) {
      case Tag::kDefault:
        TORCH_CHECK_TYPE(parameter.fallback.has_value(), parameter.name, ": missing");
        return *parameter.fallback;
      case Tag::kNone:
        TORCH_CHECK_TYPE(parameter.optional, parameter.name, ": must not be null");
        return {};
      case Tag::kNumber:
        return ReadNumber(parameter);
      case Tag::kBoolean: {
        const bool value = Next() != 0;
        if (parameter.kind == c10::TypeKind::BoolType) return value;
        if (parameter.kind == c10::TypeKind::NumberType) return at::Scalar(value);
        Refuse(parameter, "boolean");
      }
      case Tag::kTensor: {
        const at::Tensor& tensor = Handles().Get(Next());
        if (parameter.kind != c10::TypeKind::TensorType) Refuse(parameter, "tensor");
        if (!seen_tensor_) integral_ = c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
        seen_tensor_ = true;
        return tensor;
      }
      case Tag::kNumbers:
        return ReadNumbers(parameter);
      case Tag::kTensors:
        return ReadTensors(parameter);
      case Tag::kString: {
        const double index = Next();
        if (parameter.kind != c10::TypeKind::StringType) Refuse(parameter, "string");
        TORCH_CHECK_TYPE(index >= 0 && index < static_cast<double>(Strings().size()), parameter.name, ": unknown string");
        return Strings()[static_cast<size_t>(index)];
      }
      case Tag::kDevice: {
        const double type = Next();
        const double index = Next();
        if (parameter.kind != c10::TypeKind::DeviceObjType) Refuse(parameter, "device");
        TORCH_CHECK_TYPE(type >= 0 && type < static_cast<double>(c10::COMPILE_TIME_MAX_DEVICE_TYPES) && index >= -1 && index < 128,
                         parameter.name, ": unknown device");
        return c10::Device(static_cast<c10::DeviceType>(static_cast<int>(type)), static_cast<c10::DeviceIndex>(index));
      }
    }
    TORCH_CHECK_TYPE(false, parameter.name, ": unknown tag ", tag);
  }

  c10::IValue ReadNumber(const Parameter& parameter) {
    const double value = Next();
    switch (parameter.kind) {
      case c10::TypeKind::IntType:
      case c10::TypeKind::SymIntType:
        return ToInteger(value, parameter);
      case c10::TypeKind::FloatType:
      case c10::TypeKind::SymFloatType:
        return value;
      case c10::TypeKind::NumberType:
        // A number takes the kind of the tensor that it meets, so that 2 does not turn integers into floats
        // nor 2 into an integer that would make a float tensor's result depend on how it was written.
        if (integral_ && value == std::floor(value) && std::abs(value) < 9.2e18) return static_cast<int64_t>(value);
        return value;
      case c10::TypeKind::ScalarTypeType:
        return Code(value, static_cast<double>(c10::ScalarType::NumOptions), parameter);
      case c10::TypeKind::MemoryFormatType:
        return Code(value, static_cast<double>(c10::MemoryFormat::NumOptions), parameter);
      case c10::TypeKind::LayoutType:
        return Code(value, 1, parameter);
      case c10::TypeKind::ListType: {
        const size_t size = parameter.fixed_size > 0 ? static_cast<size_t>(parameter.fixed_size) : 1;
        if (IsInteger(parameter.element)) {
          return c10::List<int64_t>(std::vector<int64_t>(size, ToInteger(value, parameter)));
        }
        if (parameter.element == c10::TypeKind::FloatType) return c10::List<double>(std::vector<double>(size, value));
        Refuse(parameter, "number");
      }
      default:
        Refuse(parameter, "number");
    }
  }

  static bool IsInteger(c10::TypeKind kind) { return kind == c10::TypeKind::IntType || kind == c10::TypeKind::SymIntType; }

  static c10::IValue Code(double value, double limit, const Parameter& parameter) {
    const int64_t code = ToInteger(value, parameter);
    TORCH_CHECK_TYPE(code >= 0 && static_cast<double>(code) < limit, parameter.name, ": unknown code ", code);
    return code;
  }

  c10::IValue ReadNumbers(const Parameter& parameter) {
    const size_t count = Count();
    if (parameter.kind != c10::TypeKind::ListType) Refuse(parameter, "list of numbers");
    if (IsInteger(parameter.element)) {
      c10::List<int64_t> list;
      list.reserve(count);
      for (size_t i = 0; i < count; ++i) list.push_back(ToInteger(Next(), parameter));
      return list;
    }
    if (parameter.element == c10::TypeKind::FloatType) {
      c10::List<double> list;
      list.reserve(count);
      for (size_t i = 0; i < count; ++i) list.push_back(Next());
      return list;
    }
    if (parameter.element == c10::TypeKind::BoolType) {
      c10::List<bool> list;
      for (size_t i = 0; i < count; ++i) list.push_back(Next() != 0);
      return list;
    }
    if (parameter.element == c10::TypeKind::TensorType && count == 0) return ReadTensorList(parameter, 0);
    Refuse(parameter, "list of numbers");
  }

  c10::IValue ReadTensors(const Parameter& parameter) {
    const size_t count = Count();
    if (parameter.kind != c10::TypeKind::ListType || parameter.element != c10::TypeKind::TensorType) {
      Refuse(parameter, "list of tensors");
    }
    return ReadTensorList(parameter, count);
  }

  c10::IValue ReadTensorList(const Parameter& parameter, size_t count) {
    if (parameter.element_optional) {
      c10::List<std::optional<at::Tensor>> list;
      for (size_t i = 0; i < count; ++i) {
        const double handle = Next();
        list.push_back(handle == 0 ? std::optional<at::Tensor>() : std::optional<at::Tensor>(Handles().Get(handle)));
      }
      return list;
    }
    c10::List<at::Tensor> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) list.push_back(Handles().Get(Next()));
    return list;
  }

  const Operator& op_;
  const double* cursor_;
  const double* end_;
  bool seen_tensor_ = false;
  bool integral_ = false;
};

// `aten::mm(self: float32[2, 3], mat2: ...)`, for error messages only.
std::string Subject(const Operator& op, size_t count) {
  std::ostringstream out;
  out << op.name << "(";
  try {
    torch::jit::Stack stack;
    Reader(op, count).Read(stack);
    bool first = true;
    for (size_t i = 0; i < stack.size(); ++i) {
      if (!stack[i].isTensor() || !stack[i].toTensor().defined()) continue;
      const at::Tensor& tensor = stack[i].toTensor();
      out << (first ? "" : ", ") << op.parameters[i].name << ": " << tensor.dtype().name() << tensor.sizes();
      first = false;
    }
  } catch (...) {
    // The arguments themselves are what is wrong; the name must do.
  }
  out << ")";
  return out.str();
}

// Runs one call and leaves its results on `stack`.
template <typename Finish>
napi_value Call(napi_env env, napi_callback_info info, Finish finish) {
  const Operator* op = nullptr;
  size_t written = 0;
  try {
    Arguments arguments(env, info);
    op = Operators().at(static_cast<size_t>(arguments.Integer(0, 0, static_cast<int64_t>(Operators().size()) - 1))).get();
    written = static_cast<size_t>(arguments.Integer(1, 0, kBufferSize));
    torch::jit::Stack stack;
    stack.reserve(op->parameters.size());
    Reader(*op, written).Read(stack);
    if (op->validate) op->validate(stack);
    op->handle.callBoxed(stack);
    return finish(env, stack);
  } catch (...) {
    ThrowCurrent(env, op == nullptr ? "call" : Subject(*op, written));
    return nullptr;
  }
}

}  // namespace

napi_value ArgumentBuffer(Arguments& arguments) {
  napi_value buffer;
  napi_value array;
  Check(arguments.env(),
        napi_create_external_arraybuffer(arguments.env(), Buffer().data(), kBufferSize * sizeof(double), nullptr, nullptr,
                                         &buffer),
        "argument buffer");
  Check(arguments.env(), napi_create_typedarray(arguments.env(), napi_float64_array, kBufferSize, buffer, 0, &array),
        "argument buffer");
  return array;
}

napi_value InternString(Arguments& arguments) {
  Strings().push_back(arguments.String(0));
  return ToNumber(arguments.env(), static_cast<double>(Strings().size() - 1));
}

napi_value RegisterOperator(Arguments& arguments) {
  const std::string name = arguments.String(0);
  auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name.c_str(), arguments.String(1).c_str());
  auto op = std::make_unique<Operator>(Operator{name, handle, {}, ValidatorFor(name)});
  for (const c10::Argument& argument : handle.schema().arguments()) op->parameters.push_back(Describe(argument));
  Operators().push_back(std::move(op));
  return ToNumber(arguments.env(), static_cast<double>(Operators().size() - 1));
}

napi_value OperatorSchema(Arguments& arguments) {
  const auto handle = c10::Dispatcher::singleton().findSchema({arguments.String(0), arguments.String(1)});
  if (!handle.has_value()) {
    napi_value null;
    Check(arguments.env(), napi_get_null(arguments.env(), &null), "null");
    return null;
  }
  std::ostringstream out;
  out << handle->schema();
  return ToString(arguments.env(), out.str());
}

// For operators that return one tensor: its handle.
napi_value CallTensor(napi_env env, napi_callback_info info) {
  return Call(env, info, [](napi_env e, torch::jit::Stack& stack) {
    TORCH_CHECK_TYPE(stack.size() == 1 && stack[0].isTensor(), "expected the operator to return one tensor");
    return ToNumber(e, Handles().Add(std::move(stack[0]).toTensor()));
  });
}

// For operators that return several tensors or a list of them: handles in the shared array, and their count.
napi_value CallTensors(napi_env env, napi_callback_info info) {
  return Call(env, info, [](napi_env e, torch::jit::Stack& stack) {
    size_t count = 0;
    const auto put = [&](at::Tensor tensor) {
      TORCH_CHECK_VALUE(count < kBufferSize, "too many results");
      Buffer()[count++] = Handles().Add(std::move(tensor));
    };
    for (c10::IValue& value : stack) {
      if (value.isTensor()) {
        put(std::move(value).toTensor());
      } else {
        TORCH_CHECK_TYPE(value.isTensorList(), "expected the operator to return tensors");
        for (const at::Tensor& tensor : value.toTensorVector()) put(tensor);
      }
    }
    return ToNumber(e, static_cast<double>(count));
  });
}

// For operators that work in place: their results are arguments that JavaScript already holds.
napi_value CallVoid(napi_env env, napi_callback_info info) {
  return Call(env, info, [](napi_env e, torch::jit::Stack&) { return Undefined(e); });
}

}  // namespace disco
