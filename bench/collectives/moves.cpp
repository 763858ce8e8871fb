// The collectives that move elements as they are: what counts of a type is its size.
#include "calls.hpp"
#include "worlds.hpp"

namespace bench {
namespace {

template <class World, class T>
repeated_call<World> find(allfold::collective what, std::string_view algorithm) {
  return with_collective(what, [&]<allfold::collective What>() -> repeated_call<World> {
    if constexpr (!allfold::folds(What))
      return find_by_name<What, T, allfold::sum, World>(algorithm);
    else
      return nullptr;
  });
}

}  // namespace

template <class World>
repeated_call<World> find_move(allfold::collective what, std::string_view algorithm,
                               std::size_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return find<World, std::uint8_t>(what, algorithm);
    case 2:
      return find<World, std::uint16_t>(what, algorithm);
    case 4:
      return find<World, std::uint32_t>(what, algorithm);
    case 8:
      return find<World, std::uint64_t>(what, algorithm);
    default:
      return nullptr;
  }
}

template repeated_call<threads_world> find_move<threads_world>(allfold::collective,
                                                               std::string_view, std::size_t);

}  // namespace bench
