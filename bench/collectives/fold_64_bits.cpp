#include "fold_calls.hpp"
#include "worlds.hpp"

namespace bench {

template repeated_call<threads_world> find_fold<threads_world, std::int64_t>(allfold::collective,
                                                                             std::string_view,
                                                                             redop);
template repeated_call<threads_world> find_fold<threads_world, std::uint64_t>(allfold::collective,
                                                                              std::string_view,
                                                                              redop);

}  // namespace bench
