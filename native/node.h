// Small helpers between Node-API and C++: argument access that throws, and one guard that turns every C++
// exception into a JavaScript error, so that none crosses the boundary.
#pragma once

#include <c10/util/Exception.h>
#include <node_api.h>

#include <string>
#include <vector>

namespace disco {

// Thrown when JavaScript already has an exception pending.
struct PendingException {};

inline void Check(napi_env env, napi_status status, const char* what) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw PendingException{};
  TORCH_CHECK_TYPE(false, what);
}

// The arguments of one call from JavaScript.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kMost;
    Check(env, napi_get_cb_info(env, info, &count, values_, nullptr, nullptr), "arguments");
    count_ = count < kMost ? count : kMost;
  }
  napi_env env() const { return env_; }
  size_t size() const { return count_; }
  napi_value operator[](size_t i) const {
    TORCH_CHECK_TYPE(i < count_, "argument ", i, " is missing");
    return values_[i];
  }
  bool IsNullish(size_t i) const;
  double Number(size_t i) const;
  // A whole number in [low, high].
  int64_t Integer(size_t i, int64_t low, int64_t high) const;
  bool Boolean(size_t i) const;
  std::string String(size_t i) const;
  std::vector<double> Numbers(size_t i) const;
  // The bytes of a typed array or DataView.
  std::pair<uint8_t*, size_t> Bytes(size_t i) const;

 private:
  static constexpr size_t kMost = 6;
  napi_env env_;
  napi_value values_[kMost];
  size_t count_ = 0;
};

napi_value Undefined(napi_env env);
napi_value ToNumber(napi_env env, double value);
napi_value ToBoolean(napi_env env, bool value);
napi_value ToString(napi_env env, const std::string& value);
napi_value ToNumbers(napi_env env, const std::vector<double>& values);

// Remembers the JavaScript function (kind, message, operator) => Error that makes the errors we throw.
void SetErrorFactory(napi_env env, napi_value factory);
// Throws a JavaScript error of the class that belongs to the C++ exception in flight. `subject` names the
// operator or function, with the shapes of its arguments where they are known.
void ThrowCurrent(napi_env env, const std::string& subject);

// Wraps `Body(Arguments&) -> napi_value` as a Node-API callback.
template <napi_value (*Body)(Arguments&)>
napi_value Guard(napi_env env, napi_callback_info info) {
  try {
    Arguments arguments(env, info);
    return Body(arguments);
  } catch (...) {
    ThrowCurrent(env, "");
    return nullptr;
  }
}

struct Function {
  const char* name;
  napi_callback callback;
};
void Export(napi_env env, napi_value exports, const std::vector<Function>& functions);

}  // namespace disco
