// Every schedule of the library, and proofs as text.
#pragma once

#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/proof.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <string>

/// "sound", or what is wrong and where: "ranks wait in a circle: rank 3, step 0, peer 2, chunk -1".
inline std::string verdict(const allfold::proof& found) {
  if (found.what == allfold::flaw::none) return found.sound() ? "sound" : "unsound without a flaw";
  return std::string{name_of(found.what)} + ": rank " + std::to_string(found.rank) + ", step " +
         std::to_string(found.index) + ", peer " + std::to_string(found.peer) + ", chunk " +
         std::to_string(found.chunk);
}
template <class Schedule>
std::string verdict(int size) {
  return verdict(allfold::prove<Schedule>(size));
}

/// "ring all_reduce over 4 ranks".
template <class Schedule>
std::string title(int size) {
  return std::string{Schedule::name} + " " + std::string{name_of(Schedule::kind)} + " over " +
         std::to_string(size) + " ranks";
}
