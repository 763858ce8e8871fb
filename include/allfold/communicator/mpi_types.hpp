// MPI's names for element types, operations and errors.
#pragma once

#include <mpi.h>

#include <allfold/error.hpp>
#include <allfold/reduction.hpp>

#if MPI_VERSION < 3
#error "allfold needs MPI 3.0 or newer"
#endif

namespace allfold::mpi {

/// MPI refused a call, or failed in it.
class mpi_error : public error {
 public:
  mpi_error(int code, const std::string& text) : error{text}, code_{code} {}
  /// As the function returned it; MPI_Error_class tells its class.
  int code() const { return code_; }

 private:
  int code_;
};

/// An error code in MPI's words.
inline std::string text_of(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return "error " + std::to_string(code);
  return {text, static_cast<std::size_t>(length)};
}

/// Throws an mpi_error unless `code` is MPI_SUCCESS.
inline void check(int code, const char* what) {
  if (code != MPI_SUCCESS)
    throw mpi_error{code, std::string{"allfold: "} + what + " failed: " + text_of(code)};
}

/// True of operations that MPI knows as sums and products.
template <class Operation>
inline constexpr bool is_sum_or_product =
    std::is_same_v<Operation, sum> || std::is_same_v<Operation, average> ||
    std::is_same_v<Operation, product>;
/// True of operations that MPI knows as the largest or the smallest.
template <class Operation>
inline constexpr bool is_extreme =
    std::is_same_v<Operation, minimum> || std::is_same_v<Operation, maximum>;

/// True if MPI has an operation of its own that gives the same, in every MPI. Open MPI 4.1 has sums
/// of short integers stop at the largest value, and MPICH 4.0 compares unsigned integers as if they
/// were signed. Of floating-point numbers, which of two zeros is the larger one, or of a number and
/// NaN, would depend on who is asked, so that ranks might hold different bits.
template <class T, class Operation>
inline constexpr bool is_built_in = is_sum_or_product<Operation> &&
                                    ((std::is_integral_v<T> &&
                                      (sizeof(T) == 4 || sizeof(T) == 8)) ||
                                     std::is_same_v<T, float> || std::is_same_v<T, double> ||
                                     std::is_same_v<T, long double>);

/// True if two elements give the same bits in either order, whatever they are.
template <class T, class Operation>
inline constexpr bool commutes = (half_precision<T> && is_sum_or_product<Operation>) ||
                                 (std::is_integral_v<T> &&
                                  (is_sum_or_product<Operation> || is_extreme<Operation>));

/// MPI's name of a number's type. Integers are unsigned, to wrap around.
template <class T>
MPI_Datatype built_in_type() {
  if constexpr (std::is_same_v<T, float>)
    return MPI_FLOAT;
  else if constexpr (std::is_same_v<T, double>)
    return MPI_DOUBLE;
  else if constexpr (std::is_same_v<T, long double>)
    return MPI_LONG_DOUBLE;
  else
    return sizeof(T) == 4 ? MPI_UINT32_T : MPI_UINT64_T;
}

/// MPI's name of an operation; an average is a sum that is divided afterwards.
template <class Operation>
MPI_Op built_in_operation() {
  return std::is_same_v<Operation, product> ? MPI_PROD : MPI_SUM;
}

}  // namespace allfold::mpi
