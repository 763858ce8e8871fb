// Event files, read back by a reader that shares nothing with the writer.
#include <allfold/allfold.hpp>
#include <allfold/observe/log.hpp>
#include <allfold/observe/tensorboard.hpp>

#include "communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace outcomes;
using allfold::tensorboard_writer;

struct folder_of_test {
  folder_of_test()
      : path{(std::filesystem::temp_directory_path() /
              ("allfold_events" +
               std::to_string(std::chrono::steady_clock::now().time_since_epoch().count())))
                 .string()} {}
  folder_of_test(const folder_of_test&) = delete;
  folder_of_test& operator=(const folder_of_test&) = delete;
  ~folder_of_test() { std::filesystem::remove_all(path); }
  std::string path;
};

std::string bytes_of(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream{path, std::ios::binary}.rdbuf();
  return all.str();
}

// ---- the reader ----

template <class Number>
Number number_at(std::string_view bytes) {  // on a machine that is little endian
  if (bytes.size() < sizeof(Number)) throw std::runtime_error{"the file ends too early"};
  Number value;
  std::memcpy(&value, bytes.data(), sizeof(Number));
  return value;
}

/// The definition: the rest of a division of polynomials, bit by bit, masked.
std::uint32_t masked_crc(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char each : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      const bool odd = ((crc ^ static_cast<std::uint32_t>(each >> bit & 1)) & 1) != 0;
      crc = (crc >> 1) ^ (odd ? 0x82f63b78 : 0);
    }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

std::vector<std::string_view> records_of(std::string_view file) {
  std::vector<std::string_view> all;
  while (!file.empty()) {
    const auto size = number_at<std::uint64_t>(file);
    if (masked_crc(file.substr(0, 8)) != number_at<std::uint32_t>(file.substr(8)))
      throw std::runtime_error{"the CRC of a length is wrong"};
    if (file.size() < size + 16) throw std::runtime_error{"the file ends too early"};
    all.push_back(file.substr(12, size));
    if (masked_crc(all.back()) != number_at<std::uint32_t>(file.substr(12 + size)))
      throw std::runtime_error{"the CRC of a record is wrong"};
    file.remove_prefix(16 + size);
  }
  return all;
}

std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = number_at<std::uint8_t>(bytes);
    bytes.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

/// A message's fields: the bytes of each by its number, the last one if there are several.
struct fields {
  explicit fields(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::uint64_t key = take_varint(bytes);
      std::size_t size = key % 8 == 1 ? 8 : 4;
      if (key % 8 == 0) {
        numbers[key / 8] = take_varint(bytes);
        continue;
      }
      if (key % 8 == 2) size = take_varint(bytes);
      if (size > bytes.size()) throw std::runtime_error{"a field is longer than its message"};
      texts[key / 8] = bytes.substr(0, size);
      bytes.remove_prefix(size);
    }
  }
  double real(std::uint64_t field) const { return number_at<double>(texts.at(field)); }
  std::vector<double> reals(std::uint64_t field) const {
    std::vector<double> all(texts.at(field).size() / 8);
    std::memcpy(all.data(), texts.at(field).data(), texts.at(field).size());
    return all;
  }
  std::map<std::uint64_t, std::uint64_t> numbers;
  std::map<std::uint64_t, std::string_view> texts;
};

/// One value of an event.
struct value {
  explicit value(std::string_view record)
      : event{record}, its{fields{event.texts.at(5)}.texts.at(1)} {}
  std::string tag() const { return std::string{its.texts.at(1)}; }
  std::int64_t step() const { return static_cast<std::int64_t>(event.numbers.at(2)); }
  float simple() const { return number_at<float>(its.texts.at(2)); }
  fields histogram() const { return fields{its.texts.at(5)}; }
  fields event;
  fields its;
};

/// What a function writes: the file's bytes.
std::string written(const std::function<void(tensorboard_writer&)>& write) {
  const folder_of_test folder;
  tensorboard_writer board{folder.path};
  write(board);
  board.flush();
  return bytes_of(board.path());
}

double sum_of(const std::vector<double>& all) {
  return std::accumulate(all.begin(), all.end(), 0.0);
}

}  // namespace

TEST_CASE("the reader's CRC is that of RFC 3720, B.4") {
  const auto unmasked = [](const std::string& bytes) {
    const std::uint32_t rotated = masked_crc(bytes) - 0xa282ead8;
    return (rotated >> 17) | (rotated << 15);
  };
  CHECK(unmasked(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(unmasked(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(unmasked("123456789") == 0xe3069283);
}

TEST_CASE("a file begins with its version, and holds scalars in order") {
  const std::string file = written([](tensorboard_writer& board) {
    board.scalar("loss", 0.1, 0);
    board.scalar("loss", -2.5, 300);
    board.scalar("loss/é", std::numeric_limits<double>::infinity(), std::int64_t{1} << 40);
    board.scalar("", std::nan(""), -1);
  });
  const std::vector<std::string_view> all = records_of(file);
  REQUIRE(all.size() == 5);
  const fields head{all[0]};
  CHECK(head.texts.at(3) == "brain.Event:2");
  CHECK(head.real(1) > 1.6e9);
  CHECK(head.real(1) < 1e11);

  const value first{all[1]}, second{all[2]}, third{all[3]}, fourth{all[4]};
  CHECK(first.tag() == "loss");
  CHECK(first.step() == 0);
  CHECK(first.simple() == 0.1f);
  CHECK(first.event.real(1) >= head.real(1));
  CHECK(second.step() == 300);
  CHECK(second.simple() == -2.5f);
  CHECK(third.tag() == "loss/é");
  CHECK(third.step() == std::int64_t{1} << 40);
  CHECK(std::isinf(third.simple()));
  CHECK(fourth.tag() == "");
  CHECK(fourth.step() == -1);
  CHECK(std::isnan(fourth.simple()));
}

TEST_CASE("no byte of a file can be changed unnoticed") {
  const std::string file = written([](tensorboard_writer& board) { board.scalar("loss", 1, 2); });
  CHECK(records_of(file).size() == 2);
  for (std::size_t i = 0; i < file.size(); ++i) {
    std::string changed = file;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    CHECK_THROWS_AS(records_of(changed), std::runtime_error);
  }
  CHECK_THROWS_AS(records_of(std::string_view{file}.substr(0, file.size() - 1)),
                  std::runtime_error);
}

TEST_CASE("a histogram holds each value between two limits") {
  const std::vector<float> values{-3, -1e-20f, 0, 0, 1e-13f, 0.5f, 0.51f, 7, 7, 7, 1e30f};
  const std::string file =
      written([&](tensorboard_writer& board) { CHECK(board.histogram("w", values, 9) == 0); });
  const value written_value{records_of(file).at(1)};
  CHECK(written_value.tag() == "w");
  CHECK(written_value.step() == 9);
  const fields it = written_value.histogram();
  CHECK(it.real(1) == -3);
  CHECK(it.real(2) == double{1e30f});
  CHECK(it.real(3) == 11);
  CHECK(it.real(4) == doctest::Approx(double{1e30f}));
  CHECK(it.real(5) == doctest::Approx(double{1e30f} * double{1e30f}));

  const std::vector<double> limits = it.reals(6), counts = it.reals(7);
  REQUIRE(limits.size() == counts.size());
  CHECK(limits.size() < 20);  // empty buckets side by side are one
  CHECK(limits.back() == std::numeric_limits<double>::max());
  CHECK(sum_of(counts) == 11);
  double below = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < limits.size(); ++i) {
    CHECK(below < limits[i]);
    double expected = 0;
    for (const float each : values)
      if (below <= double{each} && double{each} < limits[i]) ++expected;
    CHECK(counts[i] == expected);
    if (counts[i] > 0 && std::abs(below) > 1e-12 && std::abs(limits[i]) < 1e20)
      CHECK(limits[i] / below == doctest::Approx(below > 0 ? 1.1 : 1 / 1.1));
    below = limits[i];
  }
}

TEST_CASE("a histogram of the largest numbers, of none, and of those that are no numbers") {
  constexpr double largest = std::numeric_limits<double>::max();
  const std::vector<double> extreme{-largest, largest, largest};
  const std::vector<double> odd{1, std::nan(""), std::numeric_limits<double>::infinity(), 2};
  const std::string file = written([&](tensorboard_writer& board) {
    CHECK(board.histogram("extreme", extreme, 0) == 0);
    CHECK(board.histogram("none", std::vector<float>{}, 0) == 0);
    CHECK(board.histogram("odd", odd, 0) == 2);
  });
  const std::vector<std::string_view> all = records_of(file);
  REQUIRE(all.size() == 4);
  CHECK(sum_of(value{all[1]}.histogram().reals(7)) == 3);
  CHECK(value{all[2]}.histogram().real(3) == 0);
  CHECK(value{all[2]}.histogram().reals(6).size() == 1);
  CHECK(value{all[3]}.histogram().real(3) == 2);
  CHECK(value{all[3]}.histogram().real(4) == 3);
}

TEST_CASE("each writer has a file of its own, in a folder that it makes") {
  const folder_of_test folder;
  const std::string inner = folder.path + "/a/b";
  tensorboard_writer one{inner}, two{inner};
  CHECK(one.path() != two.path());
  CHECK(one.path().starts_with(inner + "/events.out.tfevents."));
  CHECK(records_of(bytes_of(one.path())).size() == 1);  // before any flush
}

TEST_CASE("what can't be written is named") {
  const outcome folder = attempt([] { tensorboard_writer board{"/dev/null/runs"}; });
  CHECK(folder.how == ending::other);
  CHECK(folder.text ==
        "allfold: tensorboard_writer: can't make the folder /dev/null/runs: Not a directory");
  const outcome file = attempt([] { tensorboard_writer board{"/proc"}; });
  CHECK(file.says("allfold: tensorboard_writer: can't write /proc/events.out.tfevents."));
}

TEST_CASE("metrics of several ranks end in rank 0's file") {
  const folder_of_test folder;
  std::string path;
  const auto ended = run_ranks(3, [&](auto& world) {
    allfold::metrics values;
    std::unique_ptr<tensorboard_writer> board;
    if (world.rank() == 0) {
      board = std::make_unique<tensorboard_writer>(folder.path);
      path = board->path();
      values.to(std::ref(*board));
    }
    for (int step = 0; step < 2; ++step) {
      values.add("loss", world.rank());
      values.add("samples", 64, allfold::how::sum);
      values.flush(world, step);
    }
  });
  for (const outcome& each : ended) CHECK_MESSAGE(each.how == ending::returned, each.text);
  const std::string file = bytes_of(path);
  const std::vector<std::string_view> all = records_of(file);
  REQUIRE(all.size() == 5);
  CHECK(value{all[3]}.tag() == "loss");
  CHECK(value{all[3]}.step() == 1);
  CHECK(value{all[3]}.simple() == 1);
  CHECK(value{all[4]}.tag() == "samples");
  CHECK(value{all[4]}.simple() == 192);
}
