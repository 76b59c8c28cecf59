// Opens a shared library with its symbols visible to everything loaded later. The real addon links against
// libtorch by name only; opening libtorch from the folder that set-up found, globally and first, spares an
// RPATH and lets one build of this file serve every libtorch.
#include <dlfcn.h>
#include <node_api.h>

#include <string>

namespace {

// load(path: string): void
napi_value Load(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1];
  size_t length = 0;
  if (napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr) != napi_ok || argc != 1 ||
      napi_get_value_string_utf8(env, argv[0], nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "load(path): expected a string");
    return nullptr;
  }
  std::string path(length, '\0');
  napi_get_value_string_utf8(env, argv[0], path.data(), length + 1, &length);
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* reason = dlerror();
    napi_throw_error(env, "DLOPEN", reason == nullptr ? "dlopen failed" : reason);
  }
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function;
  if (napi_create_function(env, "load", NAPI_AUTO_LENGTH, Load, nullptr, &function) == napi_ok) {
    napi_set_named_property(env, exports, "load", function);
  }
  return exports;
}
