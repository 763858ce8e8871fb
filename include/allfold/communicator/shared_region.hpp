// Memory that several processes of one machine have mapped. Linux.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <allfold/error.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace allfold::processes {

/// Throws a process_error for what the operating system has just refused.
[[noreturn]] inline void refuse(const std::string& what, int number = errno) {
  throw process_error{"allfold: " + what + ": " + std::strerror(number)};
}

/// Where a process has a region open, and how others know it again.
struct region_place {
  std::int32_t process = 0, descriptor = -1;
  std::uint64_t device = 0, inode = 0, bytes = 0;
  std::uint64_t number = 0;  ///< the region's first eight bytes, which nothing else has
};

/// A mapping of memory that has no name anywhere: it is gone with the last process that has it, and
/// nothing has to be removed, whatever ends them. Pages take no memory before they are written.
class shared_region {
 public:
  /// `bytes` bytes, all zero. Processes forked from now on share it.
  static shared_region create(std::size_t bytes) {
    const int descriptor = static_cast<int>(syscall(SYS_memfd_create, "allfold", 1u));  // CLOEXEC
    if (descriptor < 0) refuse("memfd_create");
    shared_region made{descriptor};
    if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0)
      refuse("shared memory of " + std::to_string(bytes) + " bytes");
    made.map(bytes);
    return made;
  }
  /// The region at that place, while it is open there. Nothing if that is not to be found here: if
  /// it is a place of another machine or of another namespace of processes, where its numbers mean
  /// nothing or something else. What is something else is neither opened nor written.
  static std::optional<shared_region> attach(const region_place& its) {
    const std::string owner = std::to_string(its.process);
    const std::string path = "/proc/" + owner + "/fd/" + std::to_string(its.descriptor);
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) {
      if (errno == ENOENT || errno == ESRCH) return std::nullopt;
      refuse("shared memory of process " + owner);
    }
    if (found.st_dev != its.device || found.st_ino != its.inode ||
        static_cast<std::uint64_t>(found.st_size) != its.bytes)
      return std::nullopt;
    const int own = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (own < 0) refuse("shared memory of process " + owner);
    shared_region taken{own};
    std::uint64_t number = 0;
    if (pread(own, &number, sizeof number, 0) != sizeof number || number != its.number)
      return std::nullopt;
    taken.map(its.bytes);
    return taken;
  }
  shared_region(shared_region&& other) noexcept
      : descriptor_{std::exchange(other.descriptor_, -1)},
        data_{std::exchange(other.data_, nullptr)},
        size_{std::exchange(other.size_, 0)} {}
  shared_region& operator=(shared_region&&) = delete;
  ~shared_region() {
    if (data_ != nullptr) munmap(data_, size_);
    close_descriptor();
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool holds(const void* place) const {
    const auto* const at = static_cast<const std::byte*>(place);
    return at >= data_ && at < data_ + size_;
  }
  /// Where other processes can attach to it, until the descriptor is closed. From now on `number`
  /// stands in its first eight bytes.
  region_place place(std::uint64_t number) const {
    struct stat own {};
    if (fstat(descriptor_, &own) != 0) refuse("fstat of shared memory");
    std::memcpy(data_, &number, sizeof number);
    return {getpid(), descriptor_, own.st_dev, own.st_ino, size_, number};
  }
  void close_descriptor() {
    if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
  }

 private:
  explicit shared_region(int descriptor) : descriptor_{descriptor} {}
  void map(std::size_t bytes) {
    void* const place =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor_, 0);
    if (place == MAP_FAILED) refuse("mapping shared memory of " + std::to_string(bytes) + " bytes");
    data_ = static_cast<std::byte*>(place);
    size_ = bytes;
    madvise(data_, size_, MADV_DONTDUMP);  // a dump of all ranks' gradients helps nobody
  }

  int descriptor_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace allfold::processes
