// What the library throws.
#pragma once

#include <stdexcept>
#include <string>

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

}  // namespace allfold
