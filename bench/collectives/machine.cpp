#include "machine.hpp"

#include <unistd.h>

#include <allfold/communicator/cores.hpp>
#include <fstream>

namespace bench {

machine::machine() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) == 0) host = name;
  std::ifstream file{"/proc/cpuinfo"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      processor = line.substr(line.find(':') + 2);
      break;
    }
  cores = allfold::usable_cores();
#if defined(__clang__)
  compiler = "clang " __clang_version__;
#else
  compiler = "g++ " __VERSION__;
#endif
#if defined(__AVX512F__)
  compiler += ", AVX-512";
#elif defined(__AVX2__)
  compiler += ", AVX2";
#endif
}

}  // namespace bench
