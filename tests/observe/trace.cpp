// Timelines, and the trace that is written from them.
#include <allfold/allfold.hpp>
#include <allfold/observe/gather_trace.hpp>
#include <allfold/observe/trace.hpp>

#include "communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::timeline;
using allfold::timeline_span;
using time_point = timeline::clock::time_point;

constexpr time_point start{100s};

std::vector<timeline_span> spans_of(const timeline& line) {
  std::vector<timeline_span> all;
  line.visit([&](const timeline_span& it) { all.push_back(it); });
  return all;
}

std::string trace_text(const std::vector<timeline>& all) {
  std::ostringstream out;
  allfold::write_trace(out, all);
  return out.str();
}

/// Where a span begins in another of its track and ends outside: what viewers can't draw.
bool any_overlap(const std::vector<timeline_span>& all) {
  for (const timeline_span& a : all)
    for (const timeline_span& b : all)
      if (a.track == b.track && a.begin < b.begin && b.begin < a.end && a.end < b.end) return true;
  return false;
}

struct file_of_test {
  explicit file_of_test(const std::string& name)
      : path{(std::filesystem::temp_directory_path() /
              (name + std::to_string(timeline::clock::now().time_since_epoch().count())))
                 .string()} {}
  file_of_test(const file_of_test&) = delete;
  file_of_test& operator=(const file_of_test&) = delete;
  ~file_of_test() { std::filesystem::remove(path); }
  std::string text() const {
    std::ostringstream all;
    all << std::ifstream{path}.rdbuf();
    return all.str();
  }
  std::string path;
};

std::size_t count_of(const std::string& part, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

/// The lines of a trace in alphabetical order, without the commas between events.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);)
    all.push_back(line.ends_with(',') ? line.substr(0, line.size() - 1) : line);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("a trace, to the letter") {
  std::vector<timeline> all;
  all.emplace_back(0, "forward/backward");
  all.emplace_back(1, "forward/backward");
  const int communication = all[1].track("communication");
  all[0].step(7);
  all[0].add("backward", 0, start + 1500ns, start + 1ms);
  all[1].add("all_reduce", communication, start, start + 2us,
             {{"bucket", 3}, {"bytes", std::size_t{4096}}, {"loss", 0.5}, {"by", "ring"}});
  CHECK(trace_text(all) == R"({"displayTimeUnit":"ms","traceEvents":[
{"name":"thread_name","ph":"M","pid":0,"tid":0,"args":{"name":"forward/backward"}},
{"name":"backward","ph":"X","pid":0,"tid":0,"ts":1.500,"dur":998.500,"args":{"step":7}},
{"name":"thread_name","ph":"M","pid":1,"tid":0,"args":{"name":"forward/backward"}},
{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"communication"}},
{"name":"all_reduce","ph":"X","pid":1,"tid":1,"ts":0.000,"dur":2.000,"args":{"step":0,"bucket":3,"bytes":4096,"loss":0.5,"by":"ring"}},
{"name":"process_name","ph":"M","pid":0,"tid":0,"args":{"name":"rank 0"}},
{"name":"process_sort_index","ph":"M","pid":0,"tid":0,"args":{"sort_index":0}},
{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"rank 1"}},
{"name":"process_sort_index","ph":"M","pid":1,"tid":0,"args":{"sort_index":1}}
]}
)");
}

TEST_CASE("names are escaped, and numbers that JSON lacks are strings") {
  timeline line{0, "a \"track\""};
  line.add("back\\slash\n\x01 é", 0, start, start,
           {{"nan", std::numeric_limits<double>::quiet_NaN()},
            {"inf", -std::numeric_limits<float>::infinity()},
            {"tiny", 1e-300}});
  std::ostringstream out;
  allfold::write_trace(out, std::span{&line, 1});
  CHECK(out.str().find(R"("name":"back\\slash\u000a\u0001 é")") != std::string::npos);
  CHECK(out.str().find(R"("name":"a \"track\"")") != std::string::npos);
  CHECK(out.str().find(R"("nan":"nan","inf":"-inf","tiny":1e-300)") != std::string::npos);
}

TEST_CASE("times before the origin are negative, and exact to the nanosecond") {
  timeline line{0};
  line.add("early", 0, start - 1us - 1ns, start - 1ns);
  std::ostringstream out;
  allfold::write_trace(out, std::span{&line, 1}, start);
  CHECK(out.str().find(R"("ts":-1.001,"dur":1.000)") != std::string::npos);
}

TEST_CASE("begin and end nest within a track, and tracks are independent") {
  timeline line{0};
  const int other = line.track("communication");
  CHECK(line.track("communication") == other);
  line.step(4);
  line.begin("step");
  {
    const auto forward = line.span("forward");
    line.begin("all_reduce", other);  // ends after `forward`, on another track
  }
  line.step(5);
  { const auto backward = line.span("backward", 0, {{"samples", 64}}); }
  line.end();
  line.end(other);

  const std::vector<timeline_span> all = spans_of(line);
  REQUIRE(all.size() == 4);
  const char* names[] = {"forward", "backward", "step", "all_reduce"};
  const std::int64_t steps[] = {4, 5, 4, 4};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(all[i].name == names[i]);
    CHECK(all[i].step == steps[i]);
    CHECK(all[i].begin <= all[i].end);
    CHECK(all[i].track == (i == 3 ? other : 0));
  }
  CHECK(all[2].begin <= all[0].begin);
  CHECK(all[1].end <= all[2].end);
  CHECK(all[0].end <= all[1].begin);
  CHECK(all[3].begin <= all[0].end);
  CHECK(all[0].end <= all[3].end);
  CHECK_FALSE(any_overlap(all));
}

TEST_CASE("spans that overlap on a track are found by this test's own check") {
  timeline line{0};
  line.add("one", 0, start, start + 2s);
  line.add("nested", 0, start + 1s, start + 2s);
  CHECK_FALSE(any_overlap(spans_of(line)));
  line.add("across", 0, start + 1s, start + 3s);
  CHECK(any_overlap(spans_of(line)));
}

TEST_CASE("the last spans are kept, and the dropped are counted and told of") {
  std::vector<timeline> all;
  all.emplace_back(2, "main", 4);
  for (int i = 0; i < 4; ++i) all[0].add("span " + std::to_string(i), 0, start, start);
  CHECK(all[0].dropped() == 0);
  CHECK(trace_text(all).find("dropped") == std::string::npos);
  for (int i = 4; i < 11; ++i) all[0].add("span " + std::to_string(i), 0, start, start);
  CHECK(all[0].dropped() == 7);
  CHECK(all[0].size() == 4);
  const std::vector<timeline_span> kept = spans_of(all[0]);
  REQUIRE(kept.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(kept[i].name == "span " + std::to_string(i + 7));
  CHECK(trace_text(all).find(R"("labels":"7 earlier spans dropped")") != std::string::npos);
}

TEST_CASE("two timelines of one rank share no track") {
  std::vector<timeline> all;
  all.emplace_back(3, "main");
  all.back().track("communication");
  all.emplace_back(3, "main");
  all.back().add("loading", 0, start, start);
  const std::string text = trace_text(all);
  CHECK(text.find(R"("name":"loading","ph":"X","pid":3,"tid":2)") != std::string::npos);
  CHECK(count_of("\"process_name\"", text) == 1);
}

TEST_CASE("a trace without a span") {
  CHECK(trace_text({}) == "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\n]}\n");
}

TEST_CASE("misuse of a timeline is told by its rank") {
  timeline line{5};
  const outcome ended = attempt([&] { line.end(); });
  CHECK(ended.how == ending::usage);
  CHECK(ended.text == "allfold: rank 5, timeline: no span is open on track 0");
  CHECK(attempt([&] { line.begin("x", 1); }).says("there is no track 1"));
  CHECK(attempt([&] { line.begin("x", -1); }).says("there is no track -1"));
  CHECK(attempt([&] { line.add("x", 0, start, start - 1ns); }).says("x ends before it begins"));
  CHECK(attempt([&] {
          line.begin("x", 0, {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}});
        }).says("the span x has 5 arguments, and 4 are the most"));
  CHECK(attempt([] { timeline none(0, "main", 0); }).says("the capacity is 0"));
  CHECK(line.size() == 0);
}

TEST_CASE("a file that can't be written is named") {
  const timeline line{0};
  const outcome missing = attempt([&] {
    allfold::write_trace("/no/such/folder/trace.json", std::span{&line, 1});
  });
  CHECK(missing.how == ending::other);
  CHECK(missing.text ==
        "allfold: write_trace: can't write /no/such/folder/trace.json: "
        "No such file or directory");
  if (std::filesystem::exists("/dev/full"))
    CHECK(attempt([&] {
            allfold::write_trace("/dev/full", std::span{&line, 1});
          }).says("can't write /dev/full"));
  std::ostringstream broken;
  broken.setstate(std::ios::badbit);
  CHECK(attempt([&] {
          allfold::write_trace(broken, std::span{&line, 1});
        }).says("can't write to the stream"));
}

TEST_CASE("gather_trace writes what write_trace does of all ranks' timelines") {
  for (int size = 1; size <= 4; ++size) {
    std::vector<timeline> all;
    for (int rank = 0; rank < size; ++rank) {
      all.emplace_back(rank);
      for (int i = 0; i < 3 * rank; ++i)  // rank 0 has no span
        all.back().add("span", 0, start + rank * 1us + i * 1us, start + rank * 1us + i * 1us + 1us);
    }
    const file_of_test gathered{"allfold_gathered"}, written{"allfold_written"};
    const auto ended = run_ranks(size, [&](auto& world) {
      allfold::gather_trace(world, std::span{&all[at(world.rank())], 1}, gathered.path);
    });
    for (const outcome& each : ended) CHECK_MESSAGE(each.how == ending::returned, each.text);
    allfold::write_trace(written.path, all);
    CHECK(count_of("\"ph\":\"X\"", gathered.text()) == at(3 * size * (size - 1) / 2));
    CHECK(lines_of(gathered.text()) == lines_of(written.text()));
    if (size > 1) CHECK(gathered.text().find("\"ts\":0.000") != std::string::npos);
  }
}

TEST_CASE("gather_trace tells all ranks when rank 0 can't write") {
  const auto ended = run_ranks(3, [](auto& world) {
    const timeline line{world.rank()};
    allfold::gather_trace(world, std::span{&line, 1}, "/no/such/folder/trace.json");
    allfold::barrier(world);
  });
  CHECK(ended[0].says("rank 0, gather_trace at trace.cpp:"));
  CHECK(ended[0].says("can't write /no/such/folder/trace.json"));
  for (int rank = 1; rank < 3; ++rank) {
    CHECK(ended[at(rank)].how == ending::lost);
    CHECK(ended[at(rank)].says("rank 0 threw: allfold: rank 0, gather_trace"));
  }
}
