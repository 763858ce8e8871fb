#include "heap.hpp"

#include <malloc.h>

#include <cstdlib>
#include <new>

namespace {

thread_local std::int64_t held = 0;

void* take(void* memory) {
  if (memory == nullptr) throw std::bad_alloc{};
  held += static_cast<std::int64_t>(malloc_usable_size(memory));
  return memory;
}

void give_back(void* memory) {
  held -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

std::int64_t fashion_mnist::heap_bytes() { return held; }

// The standard library's other forms call these.
void* operator new(std::size_t size) { return take(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);  // aligned_alloc wants multiples of it
  return take(std::aligned_alloc(unit, (size + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }
