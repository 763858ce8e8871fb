// The processor cores that this process may use.
#pragma once

#include <allfold/hash.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#if defined(__linux__)
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#endif

namespace allfold {

/// How many cores this process may run on; at least 1.
inline int usable_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(getpid(), sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
#endif
  const unsigned known = std::thread::hardware_concurrency();
  return known == 0 ? 1 : static_cast<int>(known);
}

#if defined(__linux__)
namespace detail {

/// What this machine calls its last start, which no other has; empty if it does not say.
inline std::string start_of_system() {
  std::string text(36, '\0');
  const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  const ssize_t length = file < 0 ? 0 : read(file, text.data(), text.size());
  if (file >= 0) close(file);
  text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return text;
}

}  // namespace detail
#endif

/// A number that processes have alike if they may run on the same cores of the same machine; two
/// that have it alike by chance are not to be expected. 0 where that can't be known.
inline std::uint64_t identity_of_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(getpid(), sizeof(cores), &cores) != 0) return 0;
  std::string text = detail::start_of_system();
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core)
    text += CPU_ISSET(core, &cores) ? '1' : '0';
  return hash_of(text);
#else
  return 0;
#endif
}

/// Lets the calling thread run on all cores that the process may use, though the thread that began
/// it is bound to one. False where that is not possible.
inline bool free_this_thread() {
#if defined(__linux__)
  cpu_set_t cores;
  return sched_getaffinity(getpid(), sizeof(cores), &cores) == 0 &&
         pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores) == 0;
#else
  return false;
#endif
}

/// Binds the calling thread to the `place`-th core that this process may use, round and round.
/// False where that is not possible.
inline bool pin_this_thread(int place) {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return false;
  int left = place % CPU_COUNT(&cores);
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &cores) || left-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return pthread_setaffinity_np(pthread_self(), sizeof(one), &one) == 0;
  }
#else
  static_cast<void>(place);
#endif
  return false;
}

}  // namespace allfold
