// Records what a rank does and when.
#pragma once

#include <allfold/error.hpp>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace allfold {

/// Text that lasts as long as the program, such as a string literal; the compiler refuses other.
class lasting_text {
 public:
  constexpr lasting_text() = default;
  consteval lasting_text(const char* text) : text_{text} {}
  consteval lasting_text(std::string_view text) : text_{text} {}
  constexpr std::string_view view() const { return text_; }

 private:
  std::string_view text_;
};

/// What is told of a span: {"bytes", 4096}, {"loss", 0.5}, {"algorithm", "ring"}.
struct trace_argument {
  constexpr trace_argument() = default;
  template <std::integral Number>
  constexpr trace_argument(lasting_text name, Number number)
      : key{name}, value{static_cast<std::int64_t>(number)} {}
  template <std::floating_point Number>
  constexpr trace_argument(lasting_text name, Number number)
      : key{name}, value{static_cast<double>(number)} {}
  constexpr trace_argument(lasting_text name, lasting_text text) : key{name}, value{text} {}

  lasting_text key;
  std::variant<std::int64_t, double, lasting_text> value;
};

/// A span that has ended.
struct timeline_span {
  static constexpr std::size_t most_arguments = 4;

  std::string name;
  int track = 0;
  std::int64_t step = 0;
  std::chrono::steady_clock::time_point begin{}, end{};
  std::array<trace_argument, most_arguments> arguments;
  std::size_t argument_count = 0;
};

/// What one rank does over time: named spans on tracks. Used by one thread at a time and without a
/// lock; a rank of several threads has a timeline for each. The spans of a track that `begin` and
/// `end` or `span` record are nested in each other or apart. The last `capacity` spans are kept,
/// in about 250 bytes each that are taken at once; names of up to 15 bytes need no further memory.
class timeline {
 public:
  using clock = std::chrono::steady_clock;
  using arguments = std::initializer_list<trace_argument>;

  /// Ends its span when it is destroyed; the timeline must still be there, and not have moved.
  class scope {
   public:
    scope(timeline& line, int track) : line_{line}, track_{track} {}
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
    ~scope() { line_.close(track_); }

   private:
    timeline& line_;
    int track_;
  };

  /// Track 0 exists from the beginning and is called `first_track`.
  explicit timeline(int rank, std::string_view first_track = "main", std::size_t capacity = 16384)
      : rank_{rank}, tracks_{std::string{first_track}}, spans_(capacity) {
    open_.reserve(16);
    if (capacity == 0) misuse("the capacity is 0 spans, at least 1 is needed");
  }

  /// The number of the track with this name, which is made if there is none.
  int track(std::string_view name) {
    for (std::size_t i = 0; i < tracks_.size(); ++i)
      if (tracks_[i] == name) return static_cast<int>(i);
    tracks_.emplace_back(name);
    return static_cast<int>(tracks_.size() - 1);
  }

  /// Spans that begin from now on belong to this step; 0 until it is called.
  void step(std::int64_t number) { step_ = number; }

  /// Begins a span. `name` is UTF-8. Throws usage_error for a track that does not exist or more
  /// than timeline_span::most_arguments arguments.
  void begin(std::string_view name, int track = 0, arguments told = {}) {
    open_.push_back(made(name, track, told));
    open_.back().begin = clock::now();  // last, so that the recording is not in the span
  }

  /// Ends the span that was begun last on this track. Throws usage_error if none is open.
  void end(int track = 0) {
    if (!close(track)) misuse("no span is open on track " + std::to_string(track));
  }

  /// Begins a span that ends with the scope of what is returned.
  [[nodiscard]] scope span(std::string_view name, int track = 0, arguments told = {}) {
    begin(name, track, told);
    return {*this, track};
  }

  /// Records a span whose times were taken elsewhere. It must be nested in, or apart from, the
  /// others of its track, or viewers draw it wrongly. Throws usage_error as `begin` does, and if it
  /// ends before it begins.
  void add(std::string_view name, int track, clock::time_point begin, clock::time_point end,
           arguments told = {}) {
    if (end < begin) misuse("the span " + std::string{name} + " ends before it begins");
    timeline_span it = made(name, track, told);
    it.begin = begin;
    it.end = end;
    keep(std::move(it));
  }

  int rank() const { return rank_; }
  const std::vector<std::string>& tracks() const { return tracks_; }
  /// How many spans are kept. Those still open don't count.
  std::size_t size() const {
    return ended_ < spans_.size() ? static_cast<std::size_t>(ended_) : spans_.size();
  }
  /// How many spans gave way to later ones.
  std::uint64_t dropped() const { return ended_ - size(); }
  /// Calls visitor(const timeline_span&) for each span that is kept, in the order of their ends.
  template <class Visitor>
  void visit(Visitor&& visitor) const {
    for (std::uint64_t number = dropped(); number < ended_; ++number)
      visitor(spans_[static_cast<std::size_t>(number % spans_.size())]);
  }

 private:
  [[noreturn]] void misuse(const std::string& what) const {
    throw usage_error{"allfold: rank " + std::to_string(rank_) + ", timeline: " + what};
  }

  timeline_span made(std::string_view name, int track, arguments told) const {
    if (track < 0 || static_cast<std::size_t>(track) >= tracks_.size())
      misuse("there is no track " + std::to_string(track));
    if (told.size() > timeline_span::most_arguments)
      misuse("the span " + std::string{name} + " has " + std::to_string(told.size()) +
             " arguments, and " + std::to_string(timeline_span::most_arguments) + " are the most");
    timeline_span it;
    it.name = name;
    it.track = track;
    it.step = step_;
    for (const trace_argument& each : told) it.arguments[it.argument_count++] = each;
    return it;
  }

  /// False if no span is open on this track.
  bool close(int track) {
    const clock::time_point now = clock::now();
    for (std::size_t i = open_.size(); i-- > 0;) {
      if (open_[i].track != track) continue;
      open_[i].end = now;
      keep(std::move(open_[i]));
      open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    }
    return false;
  }

  void keep(timeline_span&& it) {
    spans_[static_cast<std::size_t>(ended_++ % spans_.size())] = std::move(it);
  }

  int rank_;
  std::vector<std::string> tracks_;
  std::vector<timeline_span> spans_;  ///< span number n at n modulo the capacity
  std::vector<timeline_span> open_;   ///< the innermost of a track last
  std::uint64_t ended_ = 0;
  std::int64_t step_ = 0;
};

}  // namespace allfold
