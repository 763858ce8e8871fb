// The hash that compares texts.
#include <allfold/hash.hpp>

#include <doctest/doctest.h>

using allfold::hash_of;

TEST_CASE("hash_of is FNV-1a") {
  // http://www.isthe.com/chongo/src/fnv/test_fnv.c
  static_assert(hash_of("") == 0xcbf29ce484222325u);
  static_assert(hash_of("a") == 0xaf63dc4c8601ec8cu);
  static_assert(hash_of("foobar") == 0x85944171f73967e8u);
  static_assert(hash_of("bar", hash_of("foo")) == hash_of("foobar"));
  CHECK(hash_of("\xff\xfe") != hash_of("\xfe\xff"));
  CHECK(hash_of("ab") != hash_of("ba"));
}
