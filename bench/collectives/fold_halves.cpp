#include "fold_calls.hpp"
#include "worlds.hpp"

namespace bench {

template repeated_call<threads_world> find_fold<threads_world, allfold::half>(allfold::collective,
                                                                              std::string_view,
                                                                              redop);
template repeated_call<threads_world> find_fold<threads_world, allfold::bfloat16>(
    allfold::collective, std::string_view, redop);

}  // namespace bench
