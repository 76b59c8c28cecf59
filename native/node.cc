#include "node.h"

#include <cmath>
#include <new>

namespace disco {

namespace {
napi_ref error_factory = nullptr;

size_t ElementSize(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return 1;
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    default:
      return 8;
  }
}

void Throw(napi_env env, const char* kind, const std::string& message, const std::string& subject) {
  napi_value factory = nullptr;
  napi_value error = nullptr;
  if (error_factory != nullptr && napi_get_reference_value(env, error_factory, &factory) == napi_ok &&
      factory != nullptr) {
    napi_value arguments[3] = {ToString(env, kind), ToString(env, message), ToString(env, subject)};
    if (napi_call_function(env, Undefined(env), factory, 3, arguments, &error) == napi_ok) {
      napi_throw(env, error);
      return;
    }
  }
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, kind, message.c_str());
}
}  // namespace

bool Arguments::IsNullish(size_t i) const {
  if (i >= count_) return true;
  napi_valuetype type;
  Check(env_, napi_typeof(env_, values_[i], &type), "argument");
  return type == napi_undefined || type == napi_null;
}

double Arguments::Number(size_t i) const {
  double value = 0;
  Check(env_, napi_get_value_double(env_, (*this)[i], &value), "expected a number");
  return value;
}

int64_t Arguments::Integer(size_t i, int64_t low, int64_t high) const {
  const double value = Number(i);
  TORCH_CHECK_TYPE(value == std::floor(value) && value >= static_cast<double>(low) && value <= static_cast<double>(high),
                   "expected a whole number from ", low, " to ", high, ", found ", value);
  return static_cast<int64_t>(value);
}

bool Arguments::Boolean(size_t i) const {
  bool value = false;
  Check(env_, napi_get_value_bool(env_, (*this)[i], &value), "expected true or false");
  return value;
}

std::string Arguments::String(size_t i) const {
  size_t length = 0;
  Check(env_, napi_get_value_string_utf8(env_, (*this)[i], nullptr, 0, &length), "expected a string");
  std::string value(length, '\0');
  Check(env_, napi_get_value_string_utf8(env_, (*this)[i], value.data(), length + 1, &length), "expected a string");
  return value;
}

std::vector<double> Arguments::Numbers(size_t i) const {
  uint32_t length = 0;
  Check(env_, napi_get_array_length(env_, (*this)[i], &length), "expected an array of numbers");
  std::vector<double> values(length);
  for (uint32_t j = 0; j < length; ++j) {
    napi_value element;
    Check(env_, napi_get_element(env_, (*this)[i], j, &element), "expected an array of numbers");
    Check(env_, napi_get_value_double(env_, element, &values[j]), "expected an array of numbers");
  }
  return values;
}

std::pair<uint8_t*, size_t> Arguments::Bytes(size_t i) const {
  bool is_typed = false;
  Check(env_, napi_is_typedarray(env_, (*this)[i], &is_typed), "expected a typed array");
  TORCH_CHECK_TYPE(is_typed, "expected a typed array");
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  Check(env_, napi_get_typedarray_info(env_, (*this)[i], &type, &length, &data, nullptr, nullptr),
        "expected a typed array");
  return {static_cast<uint8_t*>(data), length * ElementSize(type)};
}

napi_value Undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value ToNumber(napi_env env, double value) {
  napi_value result = nullptr;
  Check(env, napi_create_double(env, value, &result), "number");
  return result;
}

napi_value ToBoolean(napi_env env, bool value) {
  napi_value result = nullptr;
  Check(env, napi_get_boolean(env, value, &result), "boolean");
  return result;
}

napi_value ToString(napi_env env, const std::string& value) {
  napi_value result = nullptr;
  Check(env, napi_create_string_utf8(env, value.data(), value.size(), &result), "string");
  return result;
}

napi_value ToNumbers(napi_env env, const std::vector<double>& values) {
  napi_value result = nullptr;
  Check(env, napi_create_array_with_length(env, values.size(), &result), "array");
  for (size_t i = 0; i < values.size(); ++i) {
    Check(env, napi_set_element(env, result, static_cast<uint32_t>(i), ToNumber(env, values[i])), "array");
  }
  return result;
}

void SetErrorFactory(napi_env env, napi_value factory) {
  if (error_factory != nullptr) napi_delete_reference(env, error_factory);
  error_factory = nullptr;
  Check(env, napi_create_reference(env, factory, 1, &error_factory), "expected a function");
}

void ThrowCurrent(napi_env env, const std::string& subject) {
  try {
    throw;
  } catch (const PendingException&) {
    // JavaScript's own exception is on its way already.
  } catch (const c10::OutOfMemoryError& error) {
    Throw(env, "OutOfMemory", error.what_without_backtrace(), subject);
  } catch (const c10::IndexError& error) {
    Throw(env, "Index", error.what_without_backtrace(), subject);
  } catch (const c10::TypeError& error) {
    Throw(env, "Type", error.what_without_backtrace(), subject);
  } catch (const c10::ValueError& error) {
    Throw(env, "Value", error.what_without_backtrace(), subject);
  } catch (const c10::NotImplementedError& error) {
    Throw(env, "NotImplemented", error.what_without_backtrace(), subject);
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    // The CPU allocator reports exhaustion as a plain error.
    const bool memory = message.find("can't allocate memory") != std::string::npos;
    Throw(env, memory ? "OutOfMemory" : "Operator", message, subject);
  } catch (const std::bad_alloc&) {
    Throw(env, "OutOfMemory", "the machine has no memory left for this", subject);
  } catch (const std::exception& error) {
    Throw(env, "Operator", error.what(), subject);
  } catch (...) {
    Throw(env, "Operator", "unknown C++ exception", subject);
  }
}

void Export(napi_env env, napi_value exports, const std::vector<Function>& functions) {
  for (const Function& function : functions) {
    napi_value value;
    Check(env, napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, nullptr, &value),
          function.name);
    Check(env, napi_set_named_property(env, exports, function.name, value), function.name);
  }
}

}  // namespace disco
