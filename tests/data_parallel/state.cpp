#include <allfold/data_parallel/state.hpp>
#include <allfold/data_parallel/state_file.hpp>
#include <allfold/error.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <limits>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__)
#include <sys/resource.h>

#include <csignal>
#endif

namespace {

using allfold::state_reader;
using allfold::state_writer;
using byte_list = std::vector<std::byte>;
namespace detail = allfold::detail;

byte_list sample() {
  state_writer writer;
  writer.put("epoch", std::uint64_t{7});
  writer.put("rate", 0.125);
  writer.put("on", true);
  writer.put("note", "two\nlines");
  writer.put("weights", std::array{1.0f, -2.5f, 1e-40f});
  writer.put("none", std::vector<std::int16_t>{});
  return writer.finish();
}

/// With the length and the checksum that belong to the bytes, so that only the sections can be
/// wrong.
byte_list sealed(byte_list bytes) {
  detail::store_little(&bytes[16], static_cast<std::uint64_t>(bytes.size()));
  const std::size_t end = bytes.size() - detail::state_checksum_bytes;
  detail::store_little(&bytes[end], detail::crc32(std::span{bytes}.first(end)));
  return bytes;
}

/// The text of the Error that `call` throws, without the place, which must be `here`.
template <class Error>
std::string told(auto&& call, std::source_location here = std::source_location::current()) {
  try {
    call();
  } catch (const Error& error) {
    const std::string text = error.what(), place = ", at " + allfold::place_of(here);
    return text.ends_with(place) ? text.substr(0, text.size() - place.size()) : text + " elsewhere";
  }
  return "nothing";
}

/// The same of reading `bytes`.
std::string refusal(byte_list bytes) {
  return told<allfold::state_error>([&] { state_reader{std::move(bytes)}; });
}

/// Whether `bytes` are refused; if not, everything in them is read.
bool refused(const byte_list& bytes) {
  try {
    const state_reader reader{bytes};
    for (const char* name : {"epoch", "rate", "on", "note", "weights", "none"}) {
      const auto attempt = [](auto&& read) {
        try {
          read();
        } catch (const allfold::state_error&) {
        }
      };
      attempt([&] { reader.get_span<std::uint64_t>(name); });
      attempt([&] { reader.get_span<double>(name); });
      attempt([&] { reader.get_span<float>(name); });
      attempt([&] { reader.get_span<bool>(name); });
      attempt([&] { reader.get_span<std::byte>(name); });
      attempt([&] { reader.get<std::string>(name); });
    }
  } catch (const allfold::state_error&) {
    return true;
  }
  return false;
}

template <class T>
bool same_bits(T a, T b) {
  using raw = std::array<std::byte, sizeof(T)>;
  return std::bit_cast<raw>(a) == std::bit_cast<raw>(b);
}

template <class T>
void comes_back(const std::vector<T>& elements) {
  state_writer writer;
  writer.put("one", elements.front());
  writer.put("all", elements);
  const state_reader reader{writer.finish()};
  CHECK(same_bits(reader.get<T>("one"), elements.front()));
  const std::vector<T> all = reader.get_span<T>("all");
  REQUIRE(all.size() == elements.size());
  std::vector<T> into(all.size());
  reader.get_into("all", into);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(same_bits(all[i], elements[i]));
    CHECK(same_bits(into[i], elements[i]));
  }
}

/// A folder of its own, which goes with all that is in it.
struct folder {
  std::filesystem::path path;
  folder() {
    path = std::filesystem::temp_directory_path() / "allfold_state_test_";
    path += std::to_string(std::chrono::steady_clock::now().time_since_epoch().count());
    std::filesystem::create_directories(path);
  }
  ~folder() { std::filesystem::remove_all(path); }
  auto entries() const {
    return std::distance(std::filesystem::directory_iterator{path},
                         std::filesystem::directory_iterator{});
  }
};

}  // namespace

TEST_CASE("crc32 gives the check value of the catalogues") {
  const auto crc = [](std::string_view text) {
    return detail::crc32(std::as_bytes(std::span{text}));
  };
  CHECK(crc("123456789") == 0xcbf43926u);
  CHECK(crc("") == 0u);
  CHECK(crc("123456788") != 0xcbf43926u);
  CHECK(detail::shown_checksum(0xcbf43926u) == "0xcbf43926");
}

TEST_CASE("elements of every type come back, bit for bit") {
  const auto integers = []<class... T>(T...) {
    (comes_back<T>({std::numeric_limits<T>::min(), T{0}, T{1}, std::numeric_limits<T>::max()}),
     ...);
  };
  integers((signed char)0, (unsigned char)0, short{}, (unsigned short)0, 0, 0u, 0l, 0ul, 0ll, 0ull);
  const auto floats = []<class... T>(T...) {
    using limits = std::numeric_limits<float>;
    (comes_back<T>({T{0.1f}, T{-0.0f}, T{limits::infinity()}, T{limits::quiet_NaN()}}), ...);
  };
  floats(0.0f, 0.0, allfold::half{}, allfold::bfloat16{});
  comes_back<std::byte>({std::byte{0xff}, std::byte{0}});
  comes_back<double>({std::numeric_limits<double>::denorm_min(), 3.141592653589793});
}

TEST_CASE("texts, truths and empty spans come back") {
  const state_reader reader{sample()};
  CHECK(reader.get<std::uint64_t>("epoch") == 7);
  CHECK(reader.get<double>("rate") == 0.125);
  CHECK(reader.get<bool>("on"));
  CHECK(reader.get<std::string>("note") == "two\nlines");
  CHECK(reader.get_span<float>("weights") == std::vector{1.0f, -2.5f, 1e-40f});
  CHECK(reader.get_span<std::int16_t>("none").empty());
  CHECK(reader.has("none"));
  CHECK(!reader.has("non"));

  state_writer writer;
  const bool truths[] = {true, false, true};
  writer.put("truths", std::span{truths});
  writer.put("größe", std::string_view{"\0\xff", 2});
  const state_reader other{writer.finish()};
  CHECK(other.get_span<bool>("truths") == std::vector{true, false, true});
  CHECK(other.get<std::string>("größe") == std::string_view{"\0\xff", 2});
  CHECK(state_reader{writer.finish()}.has("truths") == false);  // finish begins anew
}

TEST_CASE("what may be an element") {
  static_assert(allfold::state_element<std::size_t> && allfold::state_element<allfold::half>);
  static_assert(!allfold::state_element<char> && !allfold::state_element<wchar_t>);
  static_assert(!allfold::state_element<long double> && !allfold::state_element<const char*>);
}

TEST_CASE("the format, byte by byte") {
  state_writer writer;
  writer.put("ab", std::array<std::uint16_t, 2>{0x0102, 0xfffe});
  writer.put("t", "hi");
  const std::array<unsigned char, 24 + 12 + 2 + 4 + 12 + 1 + 2 + 4> expected{
      'a',  'l',  'l',  'f', 'o',  'l',  'd', 0,              // magic
      1,    0,    0,    0,                                    // version
      2,    0,    0,    0,                                    // sections
      61,   0,    0,    0,   0,    0,    0,   0,              // bytes in all
      2,    0,    2,    0,   2,    0,    0,   0, 0, 0, 0, 0,  // uint16, the name's length, count
      'a',  'b',  2,    1,   0xfe, 0xff,                      // name, elements
      14,   0,    1,    0,   2,    0,    0,   0, 0, 0, 0, 0,  // text
      't',  'h',  'i',                                        //
      0x47, 0x8d, 0x93, 0xe5};                                // checksum
  const byte_list bytes = writer.finish();
  REQUIRE(bytes.size() == expected.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    INFO("byte ", i);
    CHECK(std::to_integer<unsigned>(bytes[i]) == expected[i]);
  }
}

TEST_CASE("hosts of both orders write the same bytes") {
  const auto stored = []<std::endian Host>() {
    byte_list bytes(8);
    detail::store_little<std::uint64_t, Host>(bytes.data(), 0x0102030405060708u);
    return bytes;
  };
  const byte_list little = stored.operator()<std::endian::little>();
  byte_list big = stored.operator()<std::endian::big>();
  CHECK(detail::load_little<std::uint64_t, std::endian::big>(big.data()) == 0x0102030405060708u);
  CHECK(big != little);  // this host is but one of the two, and plays the other one wrongly
  std::ranges::reverse(big);
  CHECK(big == little);
}

TEST_CASE("every truncation is refused, and every continuation") {
  const byte_list whole = sample();
  CHECK(!refused(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    INFO("length ", length);
    CHECK(refused({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}));
  }
  byte_list longer = whole;
  longer.push_back(std::byte{0});
  CHECK(refused(longer));
}

TEST_CASE("every change of a byte is refused") {
  const byte_list whole = sample();
  int accepted = 0;
  for (std::size_t place = 0; place < whole.size(); ++place)
    for (unsigned change = 1; change < 256; ++change) {
      byte_list changed = whole;
      changed[place] ^= static_cast<std::byte>(change);
      accepted += !refused(changed);
    }
  CHECK(accepted == 0);
}

// What the checksum can't find: someone has made it fit.
TEST_CASE("changes and truncations under a right checksum lead nowhere") {
  const byte_list whole = sample();
  CHECK(sealed(whole) == whole);
  int accepted = 0, not_accepted = 0;
  for (std::size_t place = 0; place < whole.size() - 4; ++place)
    for (unsigned change = 1; change < 256; ++change) {
      byte_list changed = whole;
      changed[place] ^= static_cast<std::byte>(change);
      ++(refused(sealed(changed)) ? not_accepted : accepted);
    }
  CHECK(accepted > 0);  // another name or value
  CHECK(not_accepted > 0);
  for (std::size_t length = 28; length < whole.size(); ++length) {
    INFO("length ", length);
    CHECK(refused(sealed({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)})));
  }
}

TEST_CASE("counts that are too large are refused before anything is allocated") {
  state_writer writer;
  writer.put("x", std::array{1.0, 2.0});
  const byte_list whole = writer.finish();
  for (const std::uint64_t count : {~0ull, ~0ull / 8 + 1, ~0ull / 8 + 3, 1ull << 32, 3ull}) {
    byte_list changed = whole;
    detail::store_little(&changed[24 + 4], count);
    CHECK(refusal(sealed(changed)) == "allfold: state, section \"x\" at byte 24: expected " +
                                          std::to_string(count) + " x float64, found 16 bytes");
  }
}

TEST_CASE("the errors of what encloses the sections") {
  byte_list bytes = sample();
  const std::string size = std::to_string(bytes.size());
  CHECK(refusal({}) ==
        "allfold: state, byte 0: expected the rest of at least 28 bytes, found the end");
  CHECK(refusal({bytes.begin(), bytes.begin() + 27}) ==
        "allfold: state, byte 27: expected the rest of at least 28 bytes, found the end");
  CHECK(refusal(byte_list(3, std::byte{'P'})) ==
        "allfold: state, byte 0: expected the magic \"allfold\\0\", found other bytes");
  bytes[7] = std::byte{1};
  CHECK(refusal(bytes) ==
        "allfold: state, byte 0: expected the magic \"allfold\\0\", found other bytes");
  bytes[7] = std::byte{0};
  bytes[8] = std::byte{2};
  CHECK(refusal(sealed(bytes)) ==
        "allfold: state, byte 8: expected format version 1, found 2, which is newer");
  bytes[8] = std::byte{0};
  CHECK(refusal(sealed(bytes)) == "allfold: state, byte 8: expected format version 1, found 0");
  bytes[8] = std::byte{1};
  CHECK(refusal(bytes) == "nothing");
  CHECK(refusal({bytes.begin(), bytes.end() - 1}) == "allfold: state, byte 16: expected " + size +
                                                         " bytes in all, found " +
                                                         std::to_string(bytes.size() - 1));
  const std::string was =
      detail::shown_checksum(detail::load_little<std::uint32_t>(&bytes[bytes.size() - 4]));
  bytes[24] ^= std::byte{1};
  const std::string is =
      detail::shown_checksum(detail::crc32(std::span{bytes}.first(bytes.size() - 4)));
  CHECK(was != is);
  CHECK(refusal(bytes) == "allfold: state, byte " + std::to_string(bytes.size() - 4) +
                              ": expected the checksum " + was + ", found " + is);
}

TEST_CASE("the errors of sections that no state_writer makes") {
  state_writer writer;
  writer.put("a", std::uint8_t{1});  // 14 bytes from byte 24 on
  writer.put("b", std::uint8_t{1});
  const byte_list whole = writer.finish();
  const auto with = [&](std::size_t place, unsigned value) {
    byte_list changed = whole;
    changed[place] = static_cast<std::byte>(value);
    return refusal(sealed(changed));
  };
  CHECK(with(12, 3) == "allfold: state, byte 12: expected 2 sections, as follow, found 3");
  CHECK(with(24, 0) == "allfold: state, byte 24: expected a type from 1 to 14, found 0");
  CHECK(with(24, 15) == "allfold: state, byte 24: expected a type from 1 to 14, found 15");
  CHECK(with(26, 0) == "allfold: state, byte 24: expected a name, found one that is none");
  CHECK(with(26, 17) == "allfold: state, byte 24: expected a name of 17 bytes, found 16");
  CHECK(with(36, 9) == "allfold: state, byte 24: expected a name, found one that is none");
  CHECK(with(36, 'b') ==
        "allfold: state, section \"b\" at byte 38: expected a name of its own, found the same at "
        "byte 24");
  CHECK(with(28, 2) ==  // "a" has swallowed a byte of "b"
        "allfold: state, byte 39: expected a type from 1 to 14, found 256");
  byte_list shorter = whole;
  shorter.resize(shorter.size() - 3);
  CHECK(refusal(sealed(shorter)) ==
        "allfold: state, byte 38: expected a section of at least 12 bytes, found 11");
}

TEST_CASE("the errors of what is asked for") {
  const state_reader reader{sample(), "run.state"};
  const auto about = [](auto&& call, const std::string& text,
                        std::source_location here = std::source_location::current()) {
    CHECK(told<allfold::state_error>(call, here) == "allfold: run.state, " + text);
  };
  about([&] { reader.get<float>("bias"); },
        "section \"bias\": expected float32, found no such section among \"epoch\", \"none\", "
        "\"note\", \"on\", \"rate\", \"weights\"");
  about([&] { reader.get<std::int64_t>("epoch"); },
        "section \"epoch\" at byte 24: expected int64, found uint64");
  about([&] { reader.get_span<std::byte>("note"); },
        "section \"note\" at byte 88: expected uint8, found text");
  about([&] { reader.get<std::string>("on"); },
        "section \"on\" at byte 73: expected text, found bool");
  about([&] { reader.get<float>("weights"); },
        "section \"weights\" at byte 113: expected 1 x float32, found 3 x float32");
  std::vector<float> four(4, 9.0f);
  about([&] { reader.get_into("weights", four); },
        "section \"weights\" at byte 113: expected 4 x float32, found 3 x float32");
  CHECK(four == std::vector<float>(4, 9.0f));
  about([&] { reader.get<std::int16_t>("none"); },
        "section \"none\" at byte 144: expected 1 x int16, found 0 x int16");
}

TEST_CASE("names that are none, and names that are taken") {
  state_writer writer;
  const auto about = [](auto&& call, const std::string& text,
                        std::source_location here = std::source_location::current()) {
    std::string is = "nothing";
    try {
      call();
    } catch (const allfold::usage_error& error) {
      is = error.what();
    }
    CHECK(is ==
          "allfold: state_writer at " + allfold::place_of(here) + ": the section's name " + text);
  };
  const std::string none = "must be of 1 to 65535 bytes without control characters";
  writer.put(std::string(65535, 'x'), 1);
  writer.put("a b", 1);
  about([&] { writer.put("", 1); }, none);
  about([&] { writer.put(std::string(65536, 'x'), 1); }, none);
  about([&] { writer.put("a\n", "text"); }, none);
  about([&] { writer.put("a b", std::vector{1}); }, "\"a b\" is taken already");
  const state_reader reader{writer.finish()};
  CHECK(reader.get<int>("a b") == 1);
  CHECK(reader.get<int>(std::string(65535, 'x')) == 1);
}

TEST_CASE("a file is saved, replaced and loaded") {
  const folder own;
  const auto path = own.path / "run.state";
  allfold::save_state(path, sample());
  CHECK(allfold::load_state(path).get<std::uint64_t>("epoch") == 7);
  state_writer writer;
  writer.put("many", std::vector<double>(100'000, 0.5));  // more than is read at once
  allfold::save_state(path, writer.finish());
  const state_reader reader = allfold::load_state(path);
  CHECK(!reader.has("epoch"));
  CHECK(reader.get_span<double>("many") == std::vector<double>(100'000, 0.5));
  CHECK(own.entries() == 1);
}

TEST_CASE("the errors of files name them") {
  const folder own;
  const auto path = own.path / "run.state";
  const std::string shown = '"' + path.string() + '"';
  using allfold::state_error;
  CHECK(told<state_error>([&] { allfold::load_state(path); }) ==
        "allfold: can't open the state " + shown + ": No such file or directory");
  allfold::save_state(path, std::vector<std::byte>(40, std::byte{'P'}));
  CHECK(told<state_error>([&] { allfold::load_state(path); }) ==
        "allfold: state " + shown +
            ", byte 0: expected the magic \"allfold\\0\", found other bytes");
  const std::string missing = told<state_error>([&] { allfold::save_state(path / "x", {}); });
  CHECK(missing.starts_with("allfold: can't create \"" + path.string() + "/x.partial"));
  CHECK(missing.ends_with("\": Not a directory"));
  const auto taken = own.path / "taken";
  std::filesystem::create_directories(taken / "in it");
  CHECK(told<state_error>([&] { allfold::save_state(taken, sample()); }) ==
        "allfold: can't save the state \"" + taken.string() + "\": Is a directory");
  CHECK(told<state_error>([&] { allfold::load_state(taken); }) ==
        "allfold: can't read the state \"" + taken.string() + "\": Is a directory");
  CHECK(own.entries() == 2);
}

#if defined(__unix__)
TEST_CASE("a disk that is full leaves the old file as it is") {
  const folder own;
  const auto path = own.path / "run.state";
  allfold::save_state(path, sample());
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::vector<std::byte> large(100'000);
  const std::string text = told<allfold::state_error>([&] { allfold::save_state(path, large); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(text == "allfold: can't save the state \"" + path.string() + "\": File too large");
  CHECK(allfold::load_state(path).get<std::uint64_t>("epoch") == 7);
  CHECK(own.entries() == 1);
}
#endif

TEST_CASE("who loads while others save finds one whole state") {
  const folder own;
  const auto path = own.path / "run.state";
  const auto save = [&](std::size_t count) {
    state_writer writer;
    writer.put("all", std::vector<std::uint64_t>(count, count));
    allfold::save_state(path, writer.finish());
  };
  save(1);
  const auto save_often = [&](std::size_t count) {
    for (int i = 0; i < 20; ++i) save(count);
  };
  std::jthread first{save_often, 50'000}, second{save_often, 70'000};
  for (int i = 0; i < 40; ++i) {
    const auto all = allfold::load_state(path).get_span<std::uint64_t>("all");
    CHECK(all == std::vector<std::uint64_t>(all.size(), all.size()));
  }
  first.join();
  second.join();
  CHECK(own.entries() == 1);
}
