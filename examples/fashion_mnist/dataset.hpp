#pragma once

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <vector>

namespace fashion_mnist {

inline constexpr std::size_t pixels = 28 * 28;
inline constexpr std::size_t classes = 10;

// What one rank works on at a time: a column of normalised pixels and a label for each sample.
struct batch {
  Eigen::MatrixXf images;
  std::vector<std::uint8_t> labels;
};

// Pixels stay bytes, as in the file: shared read-only by all ranks, and a quarter of the memory.
struct dataset {
  std::vector<std::uint8_t> images;  // size() times `pixels`
  std::vector<std::uint8_t> labels;

  std::size_t size() const { return labels.size(); }

  // Copies the chosen samples, normalised to mean 0 and deviation 1, into `into`.
  void gather(std::span<const std::size_t> samples, batch& into) const;
};

struct missing_dataset : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Reads `prefix`-images-idx3-ubyte.gz and `prefix`-labels-idx1-ubyte.gz, at most `limit` samples.
// Throws missing_dataset when there is no such file, std::runtime_error when it is not what it
// should be; both name it.
dataset load(const std::filesystem::path& folder, const char* prefix, std::size_t limit);

}  // namespace fashion_mnist
