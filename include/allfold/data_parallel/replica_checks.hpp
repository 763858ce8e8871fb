// What the ranks' models must have in common, found out when a replica is made.
#pragma once

#include <allfold/data_parallel/model.hpp>
#include <allfold/data_parallel/options.hpp>
#include <allfold/data_parallel/replica_link.hpp>
#include <allfold/hash.hpp>

namespace allfold::detail {

/// Throws a usage_error on this rank and tells every other rank.
template <class Link>
[[noreturn]] void give_up(Link& link, const std::string& what, std::source_location where) {
  const std::string text = what + ", data_parallel at " + place_of(where);
  link.abort(text);
  throw usage_error{"allfold: rank " + std::to_string(link.rank()) + ": " + text};
}

/// Not all options go with a compression.
template <class Compression, class Link>
void check_options(Link& link, const data_parallel_options& options, std::source_location where) {
  if constexpr (!std::is_same_v<Compression, uncompressed>) {
    if (options.rebuild_buckets)
      give_up(link, "rebuild_buckets does not go with a compression", where);
    // What was left out earlier of a gradient that is not used now would be lost.
    if (options.unused == unused::keep)
      give_up(link, "unused::keep does not go with a compression", where);
  }
}

/// A model must name as many gradients as parameters, of the same sizes.
template <class Model, class Elements>
void check_own_shapes(Model& model, replica_link<Elements>& link,
                      const std::vector<Elements>& parameters,
                      const std::vector<Elements>& gradients, std::source_location where) {
  if (parameters.size() != gradients.size())
    give_up(link,
            "the model has " + std::to_string(parameters.size()) + " parameters and " +
                std::to_string(gradients.size()) + " gradients",
            where);
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (parameters[i].size() != gradients[i].size())
      give_up(link,
              parameter_name(model, i) + " has " + std::to_string(parameters[i].size()) +
                  " elements and its gradient " + std::to_string(gradients[i].size()),
              where);
}

/// Every rank compares all ranks with rank 0, so that all come to the same conclusion.
template <class Model, class Elements>
void check_shapes_of_ranks(Model& model, replica_link<Elements>& link,
                           const std::vector<Elements>& parameters, std::source_location where) {
  const auto compare = [&](std::uint64_t mine, const auto& text_of) {
    const std::vector<std::uint64_t> all = link.gather(mine, where);
    for (std::size_t peer = 1; peer < all.size(); ++peer)
      if (all[peer] != all[0])
        throw mismatch_error{"allfold: rank " + std::to_string(link.rank()) +
                             ", data_parallel at " + place_of(where) + ": " + text_of(all, peer)};
  };
  const auto differ = [&](const std::string& what, std::uint64_t mine) {
    compare(mine, [&](const std::vector<std::uint64_t>& all, std::size_t peer) {
      return what + std::to_string(all[peer]) + " on rank " + std::to_string(peer) + " and " +
             std::to_string(all[0]) + " on rank 0";
    });
  };
  differ("the number of parameters is ", parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i)
    differ("the number of elements of " + parameter_name(model, i) + " is ", parameters[i].size());
  if constexpr (has_layouts<Model>) {
    std::size_t i = 0;
    for (const std::string& each : call_layouts(model)) {
      compare(hash_of(each), [&](const auto&, std::size_t peer) {
        return parameter_name(model, i) + ", which is " + each + " here, is laid out on rank " +
               std::to_string(peer) + " otherwise than on rank 0";
      });
      ++i;
    }
  }
  const auto bytes_of_all = [](auto&& ranges) {
    std::uint64_t bytes = 0;
    for (auto&& each : ranges) bytes += span_of(each).size_bytes();
    return bytes;
  };
  if constexpr (has_buffers<Model>)
    differ("the size of the buffers in bytes is ", bytes_of_all(call_buffers(model)));
  if constexpr (has_frozen<Model>)
    differ("the size of what is frozen in bytes is ", bytes_of_all(call_frozen(model)));
}

/// Every rank's flags combined, 64 at a time, by a function of two words. The same on every rank.
template <class Elements, class Combine>
std::vector<char> over_ranks(replica_link<Elements>& link, const std::vector<char>& flags,
                             std::source_location where, Combine combine) {
  std::vector<char> combined(flags.size());
  for (std::size_t begin = 0; begin < flags.size(); begin += 64) {
    const std::size_t end = std::min(begin + 64, flags.size());
    std::uint64_t mine = 0;
    for (std::size_t i = begin; i < end; ++i)
      mine |= static_cast<std::uint64_t>(flags[i] != 0) << (i - begin);
    std::uint64_t all = mine;
    for (const std::uint64_t each : link.gather(mine, where)) all = combine(all, each);
    for (std::size_t i = begin; i < end; ++i) combined[i] = (all >> (i - begin)) & 1;
  }
  return combined;
}

/// For each gradient, whether on every rank the next one lies right behind it: then both can be
/// reduced in one go, where they lie.
template <class Elements>
std::vector<char> joined_on_all_ranks(replica_link<Elements>& link,
                                      const std::vector<Elements>& gradients,
                                      std::source_location where) {
  std::vector<char> joined(gradients.size(), false);
  for (std::size_t i = 0; i + 1 < gradients.size(); ++i)
    joined[i] = gradients[i].data() + gradients[i].size() == gradients[i + 1].data();
  return over_ranks(link, joined, where, [](std::uint64_t a, std::uint64_t b) { return a & b; });
}

}  // namespace allfold::detail
