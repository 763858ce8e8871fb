// What the command line says.
#pragma once

#include "series.hpp"

#include <string>
#include <vector>

namespace bench {

enum class combination : std::uint8_t { rank_0, average, minimum, maximum };

/// How each row is measured.
struct measuring {
  std::size_t calls = 0;  ///< timed, or in a batch; 0: as many as it takes
  std::size_t warmup = 5;
  std::size_t batches = 1;
  double batch_seconds = 10e-3;  ///< that `calls` is chosen for
  std::size_t least_calls = 5;   ///< that are chosen
  combination over_ranks = combination::average;
  std::size_t checks = 1;
  std::size_t unalign = 0;  ///< elements that buffers begin behind a cache line's start
};

struct settings : measuring {
  std::vector<allfold::collective> collectives;
  std::string algorithm = "automatic";
  std::vector<datatype> types;
  std::vector<redop> operations;
  std::vector<int> roots;
  int ranks = 2;
  std::string communicator = "threads";
  bool pin = false;   ///< unless the command line says it: if there is a core for each rank
  int timeout = 600;  ///< seconds
  std::size_t first_bytes = 8, last_bytes = std::size_t{64} << 20;
  std::size_t step_bytes = 0, step_factor = 2;
  std::size_t cycles = 1;
  bool statistics = false, progress = false;
  std::string json, plot;

  /// The sizes to measure, in bytes.
  std::vector<std::size_t> sizes() const;
  /// The algorithms to measure of a collective; may be none if several collectives were named.
  std::vector<std::string> algorithms_of(allfold::collective what) const;
  /// The series of a collective by an algorithm.
  std::vector<series> series_of(allfold::collective what, const std::string& algorithm) const;
};

/// A number of bytes, as nccl-tests reads it: 1.5M is 1572864. Throws std::invalid_argument.
std::size_t bytes_of(const std::string& text);

/// Reads the command line. Exits the program where that is all it asks for (--help), or where it
/// asks for something that is not there.
settings settings_of(int count, char** words);

}  // namespace bench
