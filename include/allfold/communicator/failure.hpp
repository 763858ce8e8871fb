// What went wrong, to be told to the ranks of another communicator.
#pragma once

#include <allfold/communicator/post.hpp>
#include <exception>
#include <optional>

namespace allfold {

/// What a rank has caught. `kind`: which of the library's errors that all ranks are told of; none
/// for any other exception.
struct failure {
  std::optional<host::failure_kind> kind;
  std::string text;
};

/// What an exception is, with its text but for "allfold: ".
inline failure failure_of(const std::exception_ptr& thrown) {
  using host::failure_kind;
  const auto made = [](std::optional<failure_kind> kind, std::string_view text) {
    constexpr std::string_view front = "allfold: ";
    return failure{kind, std::string{text.substr(text.starts_with(front) ? front.size() : 0)}};
  };
  try {
    std::rethrow_exception(thrown);
  } catch (const usage_error& it) {
    return made(failure_kind::misuse, it.what());
  } catch (const mismatch_error& it) {
    return made(failure_kind::mismatch, it.what());
  } catch (const timeout_error& it) {
    return made(failure_kind::timeout, it.what());
  } catch (const rank_lost_error& it) {
    return made(failure_kind::lost, it.what());
  } catch (const std::exception& it) {
    return made(std::nullopt, it.what());
  } catch (...) {
    return made(std::nullopt, "something that is no std::exception");
  }
}

/// Fails a communicator with that, unless it has failed before. Any thread may call if the
/// communicator's `abort` may be called so.
template <class World>
void fail(World& world, const failure& found) {
  if constexpr (requires { world.shared()->fail(host::failure_kind::lost, 0, found.text); })
    world.shared()->fail(found.kind.value_or(host::failure_kind::lost), world.rank(), found.text);
  else if constexpr (requires { world.fail(found); })
    world.fail(found);
  else
    world.abort(found.text);
}

}  // namespace allfold
