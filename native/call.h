// The one generic operator call. JavaScript writes the arguments of a call into a shared Float64Array, each as
// a tag and its payload, in the order of the operator's schema; the call reads them against the schema, fills
// in defaults, goes through PyTorch's dispatcher and answers with handles or numbers.
#pragma once

#include "node.h"

namespace disco {

// What stands before each argument in the shared array.
enum class Tag : int {
  kDefault = 0,   // nothing follows: the schema's default
  kNone = 1,      // nothing follows
  kNumber = 2,    // value
  kBoolean = 3,   // 0 or 1
  kTensor = 4,    // handle
  kNumbers = 5,   // count, values
  kTensors = 6,   // count, handles (0: none)
  kString = 7,    // index of an interned string
  kDevice = 8,    // device type, index (-1: current)
};

// argumentBuffer(): Float64Array, the shared array.
napi_value ArgumentBuffer(Arguments& arguments);
// internString(text): its index.
napi_value InternString(Arguments& arguments);
// registerOperator(name, overload): its index. Throws when the library has no such operator.
napi_value RegisterOperator(Arguments& arguments);
// operatorSchema(name, overload): the schema as text, or null when the library has no such operator.
napi_value OperatorSchema(Arguments& arguments);
// The call itself, called with (operator, count of doubles written): see call.cc for the three forms.
napi_value CallTensor(napi_env env, napi_callback_info info);
napi_value CallTensors(napi_env env, napi_callback_info info);
napi_value CallVoid(napi_env env, napi_callback_info info);

}  // namespace disco
