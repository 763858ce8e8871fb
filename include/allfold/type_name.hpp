// Names of types at compile time, without run-time type information.
#pragma once

#include <cstddef>
#include <string_view>

namespace allfold {

/// The name of an operation, an algorithm or an element type as errors and tables show it. Types
/// that are local to functions may share a name.
template <class T>
constexpr std::string_view type_name() {
  constexpr std::string_view whole = __PRETTY_FUNCTION__;
  constexpr std::string_view mark = "T = ";
  constexpr std::size_t begin = whole.find(mark) + mark.size();
  constexpr std::size_t alias = whole.find("; std::string_view", begin);  // GCC explains it
  constexpr std::size_t end = alias < whole.size() ? alias : whole.size() - 1;
  constexpr std::string_view name = whole.substr(begin, end - begin);
  constexpr std::string_view own = "allfold::";  // which GCC leaves out
  return name.substr(name.starts_with(own) ? own.size() : 0);
}

}  // namespace allfold
