#include <allfold/allfold.hpp>
#include <allfold/communicator/call.hpp>

#include <doctest/doctest.h>

#include <complex>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <source_location>
#include <string>
#include <vector>

namespace {

using allfold::call;
using allfold::call_kind;
using allfold::describe;
using allfold::direct;
using allfold::kind_of_call;
using allfold::place_of;
using allfold::ring;
using allfold::sum;
using allfold::tree;

struct pixel {
  float red, green, blue;
};

template <class Schedule, class T = float, class Operation = sum>
call a_call(std::source_location where = std::source_location::current()) {
  return {.kind = &kind_of_call<Schedule, T, Operation>, .count = 100, .where = where};
}

/// Kinds of which no two may be mistaken for each other.
std::vector<const call_kind*> different_kinds() {
  using namespace allfold;
  return {&kind_of_call<direct, float, sum>,
          &kind_of_call<direct, double, sum>,
          &kind_of_call<direct, int, sum>,
          &kind_of_call<direct, unsigned, sum>,
          &kind_of_call<direct, long, sum>,
          &kind_of_call<direct, long long, sum>,
          &kind_of_call<direct, char, sum>,
          &kind_of_call<direct, signed char, sum>,
          &kind_of_call<direct, std::byte, sum>,
          &kind_of_call<direct, half, sum>,
          &kind_of_call<direct, bfloat16, sum>,
          &kind_of_call<direct, pixel, sum>,
          &kind_of_call<direct, std::complex<float>, sum>,
          &kind_of_call<direct, std::complex<double>, sum>,
          &kind_of_call<direct, float, product>,
          &kind_of_call<direct, float, minimum>,
          &kind_of_call<direct, float, maximum>,
          &kind_of_call<direct, float, average>,
          &kind_of_call<direct, float, std::plus<>>,
          &kind_of_call<direct, float, std::plus<float>>,
          &kind_of_call<direct, float, std::plus<double>>,
          &kind_of_call<one_shot, float, sum>,
          &kind_of_call<ring, float, sum>,
          &kind_of_call<tree, float, sum>,
          &kind_of_call<halving_doubling, float, sum>,
          &kind_of_call<primary<>, float, sum>,
          &kind_of_call<direct::reduce, float, sum>,
          &kind_of_call<ring::reduce, float, sum>,
          &kind_of_call<tree::reduce, float, sum>,
          &kind_of_call<primary<>::reduce, float, sum>,
          &kind_of_call<direct::broadcast, float, sum>,
          &kind_of_call<ring::broadcast, float, sum>,
          &kind_of_call<tree::broadcast, float, sum>,
          &kind_of_call<direct::reduce_scatter, float, sum>,
          &kind_of_call<ring::reduce_scatter, float, sum>,
          &kind_of_call<direct::all_gather, float, sum>,
          &kind_of_call<ring::all_gather, float, sum>,
          &kind_of_call<direct::scatter, float, sum>,
          &kind_of_call<direct::gather, float, sum>,
          &kind_of_call<direct::all_to_all, float, sum>,
          &kind_of_call<direct::barrier, char, sum>,
          &kind_of_call<dissemination::barrier, char, sum>};
}

}  // namespace

TEST_CASE("a call in words") {
  call it = a_call<direct>();
  const std::string place = " at " + place_of(it.where);
  CHECK(describe(it, 3) == "all_reduce #3 (direct, 100 x float, " +
                               std::string{allfold::type_name<sum>()} + ")" + place);
  it.kind = &kind_of_call<ring::reduce, int, allfold::maximum>;
  it.root = 2;
  CHECK(describe(it, 0) == "reduce #0 (ring, 100 x int, " +
                               std::string{allfold::type_name<allfold::maximum>()} + ", root 2)" +
                               place);
  it.kind = &kind_of_call<tree::broadcast, double, sum>;
  it.count = 0;
  CHECK(describe(it, 7) == "broadcast #7 (tree, 0 x double, root 2)" + place);
  it.kind = &kind_of_call<direct::barrier, char, sum>;
  CHECK(describe(it, 12) == "barrier #12 (direct)" + place);
}

TEST_CASE("an operation is named only where elements are folded, a root only where there is one") {
  const auto text_of = [](const call_kind* kind) {
    call it = a_call<direct>();
    it.kind = kind;
    return describe(it, 1);
  };
  for (const call_kind* kind : different_kinds()) {
    const std::string text = text_of(kind);
    CAPTURE(text);
    CHECK(text.find(std::string{allfold::name_of(kind->what)} + " #1 (") == 0);
    CHECK(text.find(kind->algorithm) != text.npos);
    CHECK(kind->operation.empty() == !allfold::folds(kind->what));
    if (kind->what == allfold::collective::barrier) continue;
    CHECK(text.find("100 x " + std::string{kind->type}) != text.npos);
  }
  for (const call_kind* rooted :
       {&kind_of_call<direct::reduce, float, sum>, &kind_of_call<direct::broadcast, float, sum>,
        &kind_of_call<direct::scatter, float, sum>, &kind_of_call<direct::gather, float, sum>})
    CHECK(text_of(rooted).find("root 0") != std::string::npos);
  for (const call_kind* rootless :
       {&kind_of_call<direct, float, sum>, &kind_of_call<direct::all_gather, float, sum>,
        &kind_of_call<direct::reduce_scatter, float, sum>,
        &kind_of_call<direct::all_to_all, float, sum>})
    CHECK(text_of(rootless).find("root") == std::string::npos);
}

TEST_CASE("a place is the file without its folders, and the line") {
  const auto here = std::source_location::current();
  CHECK(place_of(here) == "call.cpp:" + std::to_string(here.line()));
}

TEST_CASE("kinds of calls differ from each other") {
  std::set<std::uint64_t> hashes, fingerprints;
  const auto kinds = different_kinds();
  for (const call_kind* kind : kinds) {
    hashes.insert(kind->hash);
    call it = a_call<direct>();
    it.kind = kind;
    fingerprints.insert(it.fingerprint());
  }
  CHECK(hashes.size() == kinds.size());
  CHECK(fingerprints.size() == kinds.size());
}

TEST_CASE("the operation does not matter where nothing is folded") {
  CHECK(kind_of_call<direct::broadcast, float, sum>.hash ==
        kind_of_call<direct::broadcast, float, allfold::product>.hash);
}

TEST_CASE("a fingerprint changes with each field that must agree, and with no other") {
  const call usual = a_call<direct>();
  const auto differs = [&](auto change) {
    call other = usual;
    change(other);
    return other.fingerprint() != usual.fingerprint();
  };
  CHECK(differs([](call& it) { it.kind = &kind_of_call<ring, float, sum>; }));
  CHECK(differs([](call& it) { it.kind = &kind_of_call<direct, int, sum>; }));
  CHECK(differs([](call& it) { it.kind = &kind_of_call<direct, float, allfold::product>; }));
  CHECK(differs([](call& it) { it.kind = &kind_of_call<direct::broadcast, float, sum>; }));
  CHECK(differs([](call& it) { it.count = 101; }));
  CHECK(differs([](call& it) { it.count += std::size_t{1} << 40; }));
  CHECK(differs([](call& it) { it.root = 1; }));
  CHECK(differs([](call& it) { it.counts_hash = 1; }));
  CHECK_FALSE(differs([](call& it) { it.where = std::source_location::current(); }));
  CHECK_FALSE(differs([](call&) {}));
}

TEST_CASE("neighbouring counts, roots and counts per rank have fingerprints of their own") {
  std::set<std::uint64_t> seen;
  std::size_t calls = 0;
  for (std::size_t count = 0; count < 60; ++count)
    for (int root = 0; root < 9; ++root)
      for (std::size_t share = 0; share < 12; ++share) {
        call it = a_call<direct>();
        it.count = count;
        it.root = root;
        const std::size_t counts[] = {share, count + 20, 7};
        if (share > 0) it.counts_hash = allfold::detail::hash_of_counts(counts);
        seen.insert(it.fingerprint());
        ++calls;
      }
  CHECK(seen.size() == calls);
}

TEST_CASE("counts per rank that differ have hashes that differ") {
  std::set<std::uint64_t> seen;
  std::size_t lists = 0;
  std::vector<std::size_t> counts(4);
  for (counts[0] = 0; counts[0] < 6; ++counts[0])
    for (counts[1] = 0; counts[1] < 6; ++counts[1])
      for (counts[2] = 0; counts[2] < 6; ++counts[2])
        for (counts[3] = 0; counts[3] < 6; ++counts[3]) {
          seen.insert(allfold::detail::hash_of_counts(counts));
          ++lists;
        }
  CHECK(seen.size() == lists);
  CHECK(seen.count(0) == 0);  // which says that no counts are given
}
