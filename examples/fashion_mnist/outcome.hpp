#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fashion_mnist {

// What one rank measured.
struct rank_figures {
  std::uint64_t hash;                       // of the bytes of its parameters, after training
  double computation_ms, communication_ms;  // of a step: medians; communication is what a step
                                            // waits for
  double bytes_read, bytes_written;         // by the library, of a step: means
  double bytes_sent;                        // brought to collectives for the others, of a step
  std::uint64_t parameter_bytes, gradient_bytes, optimizer_bytes, kept_bytes;

  std::uint64_t memory() const {
    return parameter_bytes + gradient_bytes + optimizer_bytes + kept_bytes;
  }
};

struct epoch_figures {
  double loss, accuracy, seconds;  // seconds: of the steps alone, without evaluation
};

struct outcome {
  std::string name;
  std::size_t steps = 0;
  double step_ms = 0;  // median
  std::vector<epoch_figures> epochs;
  std::vector<float> losses;    // of each step: after its epoch, the mean of the ranks
  std::vector<double> seconds;  // when each step ended, on the clock of the steps alone
  std::vector<rank_figures> ranks;

  // A figure of the ranks other than the primary, as their mean; of the primary where it is alone.
  double others(auto&& figure) const {
    if (ranks.size() == 1) return static_cast<double>(figure(ranks[0]));
    double sum = 0;
    for (std::size_t r = 1; r < ranks.size(); ++r) sum += static_cast<double>(figure(ranks[r]));
    return sum / static_cast<double>(ranks.size() - 1);
  }
  double accuracy() const { return epochs.empty() ? 0.0 : epochs.back().accuracy; }
  // What a rank sends as a share of all gradients, which it sends where nothing is compressed.
  double share_sent() const {
    return ranks[0].bytes_sent / static_cast<double>(ranks[0].gradient_bytes);
  }
  bool is_compressed() const { return share_sent() < 1.0; }
  bool ranks_agree() const {
    for (const auto& rank : ranks)
      if (rank.hash != ranks[0].hash) return false;
    return true;
  }
};

}  // namespace fashion_mnist
