#include "handles.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace disco {

namespace {
constexpr double kIndexRange = 67108864.0;          // 2^26 slots
constexpr uint32_t kGenerationRange = 134217728u;   // 2^27, so that a handle stays below 2^53
}  // namespace

HandleTable& Handles() {
  static HandleTable& table = *new HandleTable();
  return table;
}

double HandleTable::Add(at::Tensor tensor) {
  if (!tensor.defined()) return 0;
  uint32_t index;
  if (free_.empty()) {
    TORCH_CHECK_VALUE(slots_.size() < kIndexRange, "too many live tensors");
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Slot& slot = slots_[index];
  slot.tensor = std::move(tensor);
  slot.used = true;
  slot.kept = false;
  ++live_;
  if (!scopes_.empty()) scopes_.back().push_back({index, slot.generation});
  return static_cast<double>(slot.generation) * kIndexRange + index;
}

int64_t HandleTable::Find(double handle) const {
  if (!(handle >= kIndexRange) || handle >= 9007199254740992.0 || handle != std::floor(handle)) return -1;
  const auto generation = static_cast<uint32_t>(handle / kIndexRange);
  const auto index = static_cast<size_t>(handle - static_cast<double>(generation) * kIndexRange);
  if (index >= slots_.size()) return -1;
  const Slot& slot = slots_[index];
  return slot.used && slot.generation == generation ? static_cast<int64_t>(index) : -1;
}

const at::Tensor& HandleTable::Get(double handle) const {
  const int64_t index = Find(handle);
  TORCH_CHECK_VALUE(index >= 0, "this tensor was freed, or is not a tensor of this process");
  return slots_[static_cast<size_t>(index)].tensor;
}

void HandleTable::Release(uint32_t index) {
  Slot& slot = slots_[index];
  slot.tensor.reset();
  slot.used = false;
  slot.generation = slot.generation + 1 == kGenerationRange ? 1 : slot.generation + 1;
  free_.push_back(index);
  --live_;
}

bool HandleTable::Free(double handle) {
  const int64_t index = Find(handle);
  if (index < 0) return false;
  Release(static_cast<uint32_t>(index));
  return true;
}

void HandleTable::BeginScope() { scopes_.emplace_back(); }

void HandleTable::EndScope(const std::vector<double>& keep) {
  TORCH_CHECK_VALUE(!scopes_.empty(), "no scope is open");
  for (const double handle : keep) {
    const int64_t index = Find(handle);
    if (index >= 0) slots_[static_cast<size_t>(index)].kept = true;
  }
  const std::vector<Entry> entries = std::move(scopes_.back());
  scopes_.pop_back();
  for (const Entry& entry : entries) {
    const Slot& slot = slots_[entry.index];
    if (!slot.used || slot.generation != entry.generation) continue;
    if (!slot.kept) {
      Release(entry.index);
    } else if (!scopes_.empty()) {
      scopes_.back().push_back(entry);
    }
  }
  for (const double handle : keep) {
    const int64_t index = Find(handle);
    if (index >= 0) slots_[static_cast<size_t>(index)].kept = false;
  }
}

}  // namespace disco
