// Which gradients are reduced together, and in which order.
// Li and others, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace allfold {

/// What a plan knows of a gradient.
struct gradient_shape {
  std::size_t bytes = 0;
  std::uint64_t type = 0;  ///< gradients of different types never share a bucket
};

/// Gradients that are reduced together, by their indices, in the order in which they are expected
/// to be ready.
struct bucket {
  std::vector<std::size_t> members;
  std::size_t bytes = 0;
};

/// Puts gradients into buckets, one after the other in the order given: a bucket is closed by the
/// gradient with which it reaches its cap, `first` bytes for the first one of all and `rest` for
/// the others. A gradient larger than that has a bucket to itself or ends one. A function of its
/// arguments alone, so that it is the same on every rank and after a restart.
constexpr std::vector<bucket> plan_buckets(const std::vector<gradient_shape>& gradients,
                                           const std::vector<std::size_t>& order, std::size_t first,
                                           std::size_t rest) {
  struct open_bucket {
    std::uint64_t type = 0;
    bucket filling;
  };
  std::vector<bucket> plan;
  std::vector<open_bucket> open;  // one of each type
  for (const std::size_t index : order) {
    const gradient_shape& it = gradients[index];
    std::size_t place = 0;
    while (place < open.size() && open[place].type != it.type) ++place;
    if (place == open.size()) open.push_back({it.type, {}});
    bucket& filling = open[place].filling;
    filling.members.push_back(index);
    filling.bytes += it.bytes;
    if (filling.bytes < (plan.empty() ? first : rest)) continue;
    plan.push_back(filling);
    filling = {};
  }
  for (const open_bucket& each : open)
    if (!each.filling.members.empty()) plan.push_back(each.filling);
  return plan;
}

/// How a strategy cuts gradients into buckets: PyTorch's sizes, unless told otherwise. Small ones
/// are on their way early; large ones are reduced in fewer calls.
template <std::size_t First = std::size_t{1} << 20, std::size_t Rest = std::size_t{25} << 20>
struct buckets {
  static constexpr std::size_t first_bytes = First;
  static constexpr std::size_t rest_bytes = Rest;

  /// In the reverse of the order in which the model names its gradients: a backward pass begins
  /// with the last layer.
  static constexpr std::vector<bucket> plan_of(const std::vector<gradient_shape>& gradients) {
    std::vector<std::size_t> order;
    for (std::size_t index = gradients.size(); index > 0; --index) order.push_back(index - 1);
    return plan(gradients, order);
  }
  /// In the order given, such as that in which gradients were seen to be ready.
  static constexpr std::vector<bucket> plan(const std::vector<gradient_shape>& gradients,
                                            const std::vector<std::size_t>& order) {
    return plan_buckets(gradients, order, First, Rest);
  }
};

/// A plan as text, a line for each bucket: "bucket 0: 1048576 bytes: gradients 5, 4, 3".
inline std::string describe(const std::vector<bucket>& plan) {
  std::string text;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    text +=
        "bucket " + std::to_string(i) + ": " + std::to_string(plan[i].bytes) + " bytes: gradients ";
    for (std::size_t k = 0; k < plan[i].members.size(); ++k)
      text += (k == 0 ? "" : ", ") + std::to_string(plan[i].members[k]);
    text += "\n";
  }
  return text;
}

}  // namespace allfold
