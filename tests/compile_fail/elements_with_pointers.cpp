// expect: elements must be trivially copyable, since ranks copy them as bytes
#include <allfold/allfold.hpp>

#include <array>
#include <string>
#include <vector>

#ifdef POSITIVE_CONTROL
using element = std::array<char, 16>;
#else
using element = std::string;
#endif

void send(allfold::threads::communicator& world, std::vector<element>& data) {
  allfold::broadcast(world, data);
}
