// Where a schedule would stand, if the communicator has an engine of its own.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

namespace detail {

/// Stands for a schedule where an engine has its own.
template <collective Kind>
struct native_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "native";
};
template <collective Kind>
struct rooted_native_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "native";
  int root = 0;
};
template <>
struct native_plan<collective::all_to_all> {
  static constexpr collective kind = collective::all_to_all;
  static constexpr std::string_view name = "native";
  bool in_place = false;
};

}  // namespace detail

/// The algorithm of the communicator's own engine. Only for communicators that have one; these
/// carry out every collective by it.
struct native : detail::native_plan<collective::all_reduce> {
  using reduce = detail::rooted_native_plan<collective::reduce>;
  using broadcast = detail::rooted_native_plan<collective::broadcast>;
  using reduce_scatter = detail::native_plan<collective::reduce_scatter>;
  using all_gather = detail::native_plan<collective::all_gather>;
  using scatter = detail::rooted_native_plan<collective::scatter>;
  using gather = detail::rooted_native_plan<collective::gather>;
  using all_to_all = detail::native_plan<collective::all_to_all>;
  using barrier = detail::native_plan<collective::barrier>;
};

}  // namespace allfold
