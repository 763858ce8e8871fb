// Memory for all gradients of a model, side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace allfold::detail {

/// Elements in host memory, all bits zero, that begin at a cache line; long ones lie in large pages
/// where the system has them, which are walked through faster.
template <class T>
class arena {
 public:
  static_assert(std::is_trivially_copyable_v<T>);

  arena() = default;
  /// Where other ranks reach them best, if `world` has such memory.
  template <class World>
  arena(World& world, std::size_t count) : arena{count, nullptr} {
    if constexpr (requires { world.template allocate<T>(count).memory(); })
      memory_ = world.template allocate<T>(count).memory();
    else
      *this = arena{count};
  }
  explicit arena(std::size_t count) : size_{count} {
    if (count == 0) return;
    const std::size_t bytes = count * sizeof(T);
    const std::size_t step = bytes >= large ? large_page : line;
    const std::size_t rounded = (bytes + step - 1) / step * step;
    memory_ = {static_cast<std::byte*>(::operator new (rounded, std::align_val_t{step})),
               [step](std::byte* it) { ::operator delete (it, std::align_val_t{step}); }};
#if defined(__linux__)
    // A wish: what comes of it is the system's affair.
    if (bytes >= large) static_cast<void>(madvise(memory_.get(), rounded, MADV_HUGEPAGE));
#endif
    std::fill_n(memory_.get(), rounded, std::byte{0});
  }

  /// Parts of these lengths, one behind the other.
  std::vector<std::span<T>> cut(const std::vector<std::size_t>& lengths) const {
    std::vector<std::span<T>> parts;
    T* next = reinterpret_cast<T*>(memory_.get());
    for (const std::size_t length : lengths) {
      parts.emplace_back(next, length);
      next += length;
    }
    return parts;
  }
  std::size_t size_bytes() const { return size_ * sizeof(T); }
  /// What keeps the memory.
  const std::shared_ptr<std::byte>& memory() const { return memory_; }

 private:
  static constexpr std::size_t line = 64, large = std::size_t{16} << 20,
                               large_page = std::size_t{2} << 20;

  arena(std::size_t count, std::nullptr_t) : size_{count} {}

  std::size_t size_ = 0;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace allfold::detail
