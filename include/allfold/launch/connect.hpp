// Lets the ranks of one start find each other where their launcher says.
#pragma once

#include <allfold/launch/rendezvous.hpp>
#include <concepts>
#include <memory>

namespace allfold {

/// A way to meet: file_rendezvous, tcp_rendezvous, or one of your own.
template <class Way>
concept rendezvous = requires(Way way, const launch_environment& told, rendezvous_options options,
                              const void* mine, void* all) {
  way.exchange(mine, std::size_t{}, all);
  // Null if the launcher has not told what it needs; `needs` says what that is.
  { Way::by(told, options) } -> std::convertible_to<std::shared_ptr<Way>>;
  { Way::needs } -> std::convertible_to<std::string>;
};

/// Meets the other ranks in the first of the ways for which the launcher has said where, and
/// returns what they exchange bytes by, for as long as there is a copy of it:
///
///     connect<file_rendezvous, tcp_rendezvous>(from_environment())
///
/// Every rank calls it with the same ways. If `options.job` is empty the launcher's is taken. A
/// rank that is alone meets nobody. Throws usage_error if the launcher has said nothing that fits,
/// and what the constructor of the way throws.
template <rendezvous... Ways>
requires(sizeof...(Ways) > 0) exchange_bytes
    connect(const launch_environment& told, rendezvous_options options = {}) {
  if (told.size == 1)
    return [](const void* mine, std::size_t size, void* all) {
      if (size != 0) std::memmove(all, mine, size);
    };
  if (options.job.empty()) options.job = told.job;
  exchange_bytes found;
  const auto meets_by = [&]<class Way>(std::shared_ptr<Way> way) {
    if (way)
      found = [way](const void* mine, std::size_t size, void* all) {
        way->exchange(mine, size, all);
      };
    return found != nullptr;
  };
  if ((meets_by(std::shared_ptr<Ways>{Ways::by(told, options)}) || ...)) return found;
  std::string needs;
  for (const char* const each : {Ways::needs...})
    needs += (needs.empty() ? "" : ", or ") + std::string{each};
  throw usage_error{"allfold: rank " + std::to_string(told.rank) + ": " + told.launcher +
                    " has not said where the " + std::to_string(told.size) + " ranks meet; set " +
                    needs};
}

}  // namespace allfold
