// Which collectives each algorithm has.
#pragma once

#include <allfold/allfold.hpp>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bench {

template <class Algorithm>
inline constexpr std::string_view algorithm_name = Algorithm::name;
template <>
inline constexpr std::string_view algorithm_name<allfold::automatic> = "automatic";
template <>
inline constexpr std::string_view algorithm_name<allfold::dissemination> = "dissemination";

/// Calls `visit.operator()<Algorithm>()` for every algorithm that is measured. A new one is added
/// here, and nowhere else.
template <class Visit>
constexpr void for_each_algorithm(Visit&& visit) {
  visit.template operator()<allfold::automatic>();
  visit.template operator()<allfold::direct>();
  visit.template operator()<allfold::ring>();
  visit.template operator()<allfold::tree>();
  visit.template operator()<allfold::halving_doubling>();
  visit.template operator()<allfold::primary<>>();
  visit.template operator()<allfold::dissemination>();
}

template <class Algorithm, allfold::collective What>
constexpr bool offers() {
  using enum allfold::collective;
  if constexpr (What == all_reduce) return allfold::all_reduce_algorithm<Algorithm>;
  if constexpr (What == reduce) return requires {
      typename Algorithm::reduce;
    };
  if constexpr (What == broadcast) return requires {
      typename Algorithm::broadcast;
    };
  if constexpr (What == reduce_scatter) return requires {
      typename Algorithm::reduce_scatter;
    };
  if constexpr (What == all_gather) return requires {
      typename Algorithm::all_gather;
    };
  if constexpr (What == scatter) return requires {
      typename Algorithm::scatter;
    };
  if constexpr (What == gather) return requires {
      typename Algorithm::gather;
    };
  if constexpr (What == all_to_all) return requires {
      typename Algorithm::all_to_all;
    };
  if constexpr (What == barrier) return requires {
      typename Algorithm::barrier;
    };
}

/// Calls `visit.operator()<What>()` with the collective.
template <class Visit>
decltype(auto) with_collective(allfold::collective what, Visit&& visit) {
  using enum allfold::collective;
  switch (what) {
    case all_reduce:
      return visit.template operator()<all_reduce>();
    case reduce:
      return visit.template operator()<reduce>();
    case broadcast:
      return visit.template operator()<broadcast>();
    case reduce_scatter:
      return visit.template operator()<reduce_scatter>();
    case all_gather:
      return visit.template operator()<all_gather>();
    case scatter:
      return visit.template operator()<scatter>();
    case gather:
      return visit.template operator()<gather>();
    case all_to_all:
      return visit.template operator()<all_to_all>();
    case barrier:
      break;
  }
  return visit.template operator()<barrier>();
}

/// The algorithms of a collective, by name.
inline std::vector<std::string_view> algorithms_of(allfold::collective what) {
  std::vector<std::string_view> names;
  with_collective(what, [&]<allfold::collective What>() {
    for_each_algorithm([&]<class Algorithm>() {
      if (offers<Algorithm, What>()) names.push_back(algorithm_name<Algorithm>);
    });
  });
  return names;
}

}  // namespace bench
