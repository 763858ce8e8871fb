// Ranks as threads or as processes that meet, and how each of them ended.
#pragma once

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "communicator/outcome.hpp"

namespace meeting {

using namespace outcomes;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// A folder of its own, gone with everything in it at the end.
class folder {
 public:
  folder() {
    char name[] = "/tmp/allfold-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    for (const std::string& name : names()) unlink((path_ + '/' + name).c_str());
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::set<std::string> names() const {
    std::set<std::string> found;
    DIR* const opened = opendir(path_.c_str());
    while (const dirent* const entry = readdir(opened))
      if (entry->d_name[0] != '.') found.insert(entry->d_name);
    closedir(opened);
    return found;
  }

 private:
  std::string path_;
};

/// Runs `body(rank)` on a thread for each rank.
inline std::vector<outcome> run_threads(int ranks, const std::function<void(int)>& body) {
  std::vector<outcome> all(at(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] { all[at(rank)] = attempt([&] { body(rank); }); });
  for (std::thread& each : threads) each.join();
  return all;
}

/// Begins `body()` in a process of its own, which ends with the number of the outcome, or is
/// killed.
inline pid_t begin_process(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child != 0) return child;
  const outcome ended = attempt(body);
  if (ended.told()) std::fprintf(stderr, "(a child) %s\n", ended.text.c_str());
  _exit(static_cast<int>(ended.how));
}
inline ending end_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? static_cast<ending>(WEXITSTATUS(status)) : ending::other;
}
inline void kill_process(pid_t child) {
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
}

/// Waits for what another thread or process is to do; false if it does not within a minute.
inline bool comes_true(const std::function<bool()>& condition) {
  const auto begin = clock::now();
  while (!condition()) {
    if (clock::now() - begin > patient) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// What rank `rank` brings to round `round`.
inline std::vector<unsigned char> own_bytes(int rank, int round, std::size_t size) {
  std::vector<unsigned char> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<unsigned char>(i * 7 + at(rank) * 31 + at(round) * 101 + (i >> 9));
  return bytes;
}

/// One round with `place`; whether all ranks' bytes have come.
template <class Rendezvous>
bool exchanges(Rendezvous& place, int round, std::size_t size) {
  const auto mine = own_bytes(place.rank(), round, size);
  std::vector<unsigned char> all(size * at(place.size()), 0xee);
  place.exchange(mine.data(), size, all.data());
  for (int rank = 0; rank < place.size(); ++rank) {
    const auto theirs = own_bytes(rank, round, size);
    if (!std::equal(theirs.begin(), theirs.end(),
                    all.begin() + static_cast<std::ptrdiff_t>(size * at(rank))))
      return false;
  }
  return true;
}

}  // namespace meeting
