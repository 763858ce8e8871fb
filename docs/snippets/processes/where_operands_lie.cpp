#include "processes/where_operands_lie.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

namespace processes_md::where_operands_lie {

TEST_CASE("processes.md: operands in memory that all ranks reach") {
  allfold::spawn_processes(2, [](allfold::processes::communicator& world) {
    if (reduce_where_it_lies(world) != 2) throw std::logic_error{"it is not summed"};
  });
}

}  // namespace processes_md::where_operands_lie
