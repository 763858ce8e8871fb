// Elements in memory that the ranks of one machine share.
#pragma once

#include <algorithm>
#include <allfold/communicator/shared_world.hpp>

namespace allfold::processes {

/// Elements of one rank in shared memory; a range like std::span whose copies share the elements.
template <class T>
class shared_array {
 public:
  using value_type = T;

  shared_array() = default;
  /// All bits zero. Throws usage_error if there is no room.
  shared_array(std::shared_ptr<shared_world> world, std::size_t count) : size_{count} {
    if (count > world->part_bytes() / sizeof(T))
      throw usage_error{"allfold: no room for " + std::to_string(count) + " elements of " +
                        std::to_string(sizeof(T)) + " bytes in a rank's shared memory of " +
                        std::to_string(world->part_bytes()) + " bytes (arena_bytes)"};
    std::byte* const place = world->heap().take(count * sizeof(T));
    std::fill_n(place, count * sizeof(T), std::byte{0});
    memory_ = {place, [world = std::move(world)](std::byte* it) { world->heap().give_back(it); }};
  }

  T* data() const { return reinterpret_cast<T*>(memory_.get()); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() const { return data(); }
  T* end() const { return data() + size_; }
  T& operator[](std::size_t index) const { return data()[index]; }
  /// What keeps the memory.
  const std::shared_ptr<std::byte>& memory() const { return memory_; }

 private:
  std::shared_ptr<std::byte> memory_;
  std::size_t size_ = 0;
};

}  // namespace allfold::processes
