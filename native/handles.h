// Tensors as JavaScript sees them: numbers. A handle packs a slot index and the slot's generation, so that a
// freed or invented handle is recognised instead of reaching somebody else's tensor. A stack of scopes frees
// what was made inside them; nothing waits for JavaScript's garbage collector.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace disco {

class HandleTable {
 public:
  // The handle of a new slot that owns `tensor`; 0 for an undefined tensor.
  double Add(at::Tensor tensor);
  // The tensor behind a handle. Throws c10::ValueError when it was freed or never existed.
  const at::Tensor& Get(double handle) const;
  // Frees a handle; false when it was already free.
  bool Free(double handle);

  void BeginScope();
  // Frees what was made since the matching BeginScope except `keep`, which moves to the enclosing scope.
  void EndScope(const std::vector<double>& keep);
  size_t ScopeDepth() const { return scopes_.size(); }
  size_t Live() const { return live_; }

 private:
  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 1;
    bool used = false;
    bool kept = false;
  };
  struct Entry {
    uint32_t index;
    uint32_t generation;
  };

  // The index behind a handle, or -1.
  int64_t Find(double handle) const;
  void Release(uint32_t index);

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::vector<std::vector<Entry>> scopes_;
  size_t live_ = 0;
};

// The one table of the process. It is never destroyed: libtorch may be gone before static destructors run.
HandleTable& Handles();

}  // namespace disco
