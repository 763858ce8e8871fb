// Where figures were taken: without it a time says little.
#pragma once

#include <string>

namespace bench {

struct machine {
  std::string host = "unknown";
  std::string processor = "unknown";
  int cores = 1;  ///< that this process may use
  std::string compiler;

  machine();
};

}  // namespace bench
