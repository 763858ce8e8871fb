// The memory of all ranks that are processes: what teams keep in it, and what ranks take of it.
#pragma once

#include <allfold/communicator/shared_heap.hpp>
#include <allfold/communicator/shared_region.hpp>
#include <functional>
#include <memory>
#include <vector>

namespace allfold::processes {

/// One process's view of a shared region: a part for the first team, then as many bytes for each
/// rank. Places in it are told to other processes as offsets, since each maps it elsewhere.
class shared_world {
 public:
  /// `part`: which of the `parts` parts behind the first `front` bytes is this process's own.
  shared_world(shared_region region, std::size_t front, int parts, int part)
      : region_{std::move(region)},
        part_bytes_{(region_.size() - front) / static_cast<std::size_t>(parts)},
        heap_{region_.data() + front + static_cast<std::size_t>(part) * part_bytes_, part_bytes_} {}
  shared_world(const shared_world&) = delete;
  shared_world& operator=(const shared_world&) = delete;

  shared_region& region() { return region_; }
  shared_heap& heap() { return heap_; }
  /// Bytes that each rank may take.
  std::size_t part_bytes() const { return part_bytes_; }

  /// A pointer as other processes understand it: into the region an offset with a mark, elsewhere
  /// the address, which is the owner's affair. Null stays null.
  std::byte* shown(std::byte* own) const {
    if (own == nullptr || !region_.holds(own)) return own;
    return reinterpret_cast<std::byte*>(mark | static_cast<std::uintptr_t>(own - region_.data()));
  }
  /// What another process has shown, where this one can read and write it; the owner's address if
  /// `is_far`.
  std::byte* reached(std::byte* shown) const {
    const auto value = reinterpret_cast<std::uintptr_t>(shown);
    return (value & mark) != 0 ? region_.data() + (value & ~mark) : shown;
  }
  static bool is_far(std::byte* shown) {
    return shown != nullptr && (reinterpret_cast<std::uintptr_t>(shown) & mark) == 0;
  }

  /// Memory of this process's part for something that others use and may use longer than this
  /// process wants it: it is given back by a later `lend`, once `done` says so.
  std::byte* lend(std::size_t bytes, std::function<bool(std::byte*)> done) {
    std::erase_if(lent_, [&](const loan& each) {
      if (!each.done(each.place)) return false;
      heap_.give_back(each.place);
      return true;
    });
    std::byte* const place = heap_.take(bytes);
    lent_.push_back({place, std::move(done)});
    return place;
  }
  /// Nobody has come to use what was lent.
  void take_back(std::byte* place) {
    std::erase_if(lent_, [&](const loan& each) { return each.place == place; });
    heap_.give_back(place);
  }

 private:
  static constexpr std::uintptr_t mark = std::uintptr_t{1} << 63;  // no process has such addresses
  struct loan {
    std::byte* place;
    std::function<bool(std::byte*)> done;
  };

  shared_region region_;
  std::size_t part_bytes_;
  shared_heap heap_;
  std::vector<loan> lent_;
};

}  // namespace allfold::processes
