#pragma once

#include <cstdint>

namespace fashion_mnist {

// Bytes that the calling thread took by operator new and has not given back: so what the library
// keeps for a rank is measured, not claimed. Eigen's matrices don't count, they come from malloc.
std::int64_t heap_bytes();

}  // namespace fashion_mnist
