// Reads and writes another process's own memory, in one copy. Linux.
#pragma once

#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace allfold::processes {

/// Lets other processes of the same user read and write this one's memory, where the system wants
/// to be asked (Yama's ptrace_scope 1); elsewhere without effect.
inline void let_others_copy() {
#if defined(PR_SET_PTRACER)
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
#endif
}

namespace detail {

template <class Copy>
std::size_t copy_all(std::byte* here, std::byte* there, std::size_t bytes, Copy copy) {
  std::size_t done = 0;
  while (done < bytes) {
    const iovec own{here + done, bytes - done};
    const iovec its{there + done, bytes - done};
    const ssize_t moved = copy(&own, &its);
    if (moved <= 0) break;
    done += static_cast<std::size_t>(moved);
  }
  return done;
}

}  // namespace detail

/// Copies `bytes` bytes from `from` in another process to `to` in this one, or from `from` in this
/// one to `to` in another. Returns how many could be copied; errno says why not all.
inline std::size_t copy_from(pid_t process, const void* from, void* to, std::size_t bytes) {
  return detail::copy_all(static_cast<std::byte*>(to),
                          static_cast<std::byte*>(const_cast<void*>(from)), bytes,
                          [=](const iovec* own, const iovec* its) {
                            return process_vm_readv(process, own, 1, its, 1, 0);
                          });
}
/// The same the other way, from this process to another.
inline std::size_t copy_to(pid_t process, void* to, const void* from, std::size_t bytes) {
  return detail::copy_all(static_cast<std::byte*>(const_cast<void*>(from)),
                          static_cast<std::byte*>(to), bytes,
                          [=](const iovec* own, const iovec* its) {
                            return process_vm_writev(process, own, 1, its, 1, 0);
                          });
}

}  // namespace allfold::processes
