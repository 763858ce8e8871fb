// Hundreds of collectives of all kinds in a row, on processes::communicator.
#include "../collective/sequence.cpp"
