// What the library throws.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace allfold {

/// The base of all errors of this library. The text names the rank, the collective and its sequence
/// number, what was folded, and the caller's file and line.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A call that can't be right whatever the other ranks do: a root that does not exist, a count that
/// does not fit.
class usage_error : public error {
 public:
  using error::error;
};

/// The ranks called different collectives, or the same with different types, counts, operations,
/// roots or algorithms.
class mismatch_error : public error {
 public:
  using error::error;
};

/// A rank waited for another longer than the communicator's time limit.
class timeout_error : public error {
 public:
  using error::error;
};

/// A rank that others wait for has left, or has thrown outside the collective.
class rank_lost_error : public error {
 public:
  using error::error;
};

/// The operating system refuses what ranks that are processes need: shared memory, a process, a
/// file. The text says which call, on which rank, and why.
class process_error : public error {
 public:
  using error::error;
};

/// A saved state is not what was expected: torn, changed, another format or version, without a
/// section or with one of another type or count; or its file can't be read or written. The text
/// says what was expected and found, in which section, and at which byte.
class state_error : public error {
 public:
  using error::error;
};

/// "file.cpp:12", without the folders.
inline std::string place_of(const std::source_location& where) {
  const std::string_view path = where.file_name();
  return std::string{path.substr(path.find_last_of('/') + 1)} + ":" + std::to_string(where.line());
}

}  // namespace allfold
