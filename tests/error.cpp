// The exception types.
#include <allfold/error.hpp>

#include <doctest/doctest.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace {

template <class Error>
constexpr bool is_proper =
    std::is_base_of_v<allfold::error, Error>&& std::is_base_of_v<std::runtime_error, Error>&&
        std::is_nothrow_copy_constructible_v<Error> &&
    !std::is_final_v<Error>;

/// The text of an exception caught as `Base` that was thrown as `Error`, through a pointer as
/// ranks hand them over.
template <class Base, class Error>
std::string caught_as(const std::string& text) {
  const std::exception_ptr kept = std::make_exception_ptr(Error{text});
  try {
    std::rethrow_exception(kept);
  } catch (const Base& error) {
    return error.what();
  } catch (...) {
    return "something else";
  }
}

}  // namespace

TEST_CASE_TEMPLATE("every error is an allfold::error with its text", Error, allfold::usage_error,
                   allfold::mismatch_error, allfold::timeout_error, allfold::rank_lost_error) {
  static_assert(is_proper<Error>);
  CHECK(caught_as<allfold::error, Error>("of rank 3") == "of rank 3");
  CHECK(caught_as<std::exception, Error>("of rank 3") == "of rank 3");
  CHECK(caught_as<Error, Error>("") == "");
}

TEST_CASE("the kinds of errors are told apart") {
  CHECK(caught_as<allfold::usage_error, allfold::mismatch_error>("x") == "something else");
  CHECK(caught_as<allfold::mismatch_error, allfold::usage_error>("x") == "something else");
  CHECK(caught_as<allfold::timeout_error, allfold::rank_lost_error>("x") == "something else");
  CHECK(caught_as<allfold::rank_lost_error, allfold::timeout_error>("x") == "something else");
  CHECK(caught_as<allfold::usage_error, allfold::error>("x") == "something else");
}
