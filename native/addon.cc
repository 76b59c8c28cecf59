// The module that Node loads: the table of functions that src/torch/native.ts declares.
#include "call.h"
#include "node.h"
#include "runtime.h"

namespace {

napi_value ErrorFactory(disco::Arguments& arguments) {
  disco::SetErrorFactory(arguments.env(), arguments[0]);
  return disco::Undefined(arguments.env());
}

}  // namespace

NAPI_MODULE_INIT() {
  using namespace disco;
  try {
    Export(env, exports, {
                             {"setErrorFactory", Guard<ErrorFactory>},
                             {"argumentBuffer", Guard<ArgumentBuffer>},
                             {"internString", Guard<InternString>},
                             {"registerOperator", Guard<RegisterOperator>},
                             {"operatorSchema", Guard<OperatorSchema>},
                             {"callTensor", CallTensor},
                             {"callTensors", CallTensors},
                             {"callVoid", CallVoid},
                         });
    Export(env, exports, RuntimeFunctions());
    Export(env, exports, DataFunctions());
  } catch (...) {
    ThrowCurrent(env, "loading the addon");
  }
  return exports;
}
