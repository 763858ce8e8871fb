// The same source, for nvcc.
#include "train.cpp"
