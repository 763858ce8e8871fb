// What a rank did and when: spans on tracks, and the file that Perfetto and Chrome show them from.
#pragma once

#include <allfold/observe/timeline.hpp>

#include <algorithm>
#include <allfold/observe/output_file.hpp>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <ostream>
#include <span>

namespace allfold {

namespace detail {

/// A string of JSON, with its quotation marks. UTF-8 goes in and comes out.
inline std::string json_string(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char each : text) {
    const auto code = static_cast<unsigned char>(each);
    if (code < 0x20) {
      out += "\\u00";
      out += digits[code >> 4];
      out += digits[code & 0xf];
    } else {
      if (each == '"' || each == '\\') out += '\\';
      out += each;
    }
  }
  return out + '"';
}

/// JSON knows no infinity and no NaN: those become strings.
inline std::string json_number(double value) {
  if (!std::isfinite(value))
    return std::isnan(value) ? "\"nan\"" : value < 0 ? "\"-inf\"" : "\"inf\"";
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

/// Nanoseconds as microseconds, exactly: spans that touch must not overlap by a rounding.
inline std::string microseconds(std::chrono::nanoseconds time) {
  const auto count = static_cast<long long>(time.count());
  const unsigned long long size = count < 0 ? 0ULL - static_cast<unsigned long long>(count)
                                            : static_cast<unsigned long long>(count);
  const std::string rest = std::to_string(size % 1000);
  return (count < 0 ? "-" : "") + std::to_string(size / 1000) + '.' +
         std::string(3 - rest.size(), '0') + rest;
}

inline std::string json_argument(const trace_argument& it) {
  std::string value;
  if (const auto* whole = std::get_if<std::int64_t>(&it.value))
    value = std::to_string(*whole);
  else if (const auto* real = std::get_if<double>(&it.value))
    value = json_number(*real);
  else
    value = json_string(std::get<lasting_text>(it.value).view());
  return json_string(it.key.view()) + ':' + value;
}

/// {"name":…,"ph":"M",…}: says what a process or a thread is called.
inline std::string metadata_event(std::string_view what, int pid, int tid, const std::string& key,
                                  const std::string& value) {
  return "{\"name\":" + json_string(what) + ",\"ph\":\"M\",\"pid\":" + std::to_string(pid) +
         ",\"tid\":" + std::to_string(tid) + ",\"args\":{\"" + key + "\":" + value + "}}";
}

inline std::string span_event(const timeline_span& it, int pid, int tid,
                              timeline::clock::time_point origin) {
  using std::chrono::nanoseconds;
  std::string text =
      "{\"name\":" + json_string(it.name) + ",\"ph\":\"X\",\"pid\":" + std::to_string(pid) +
      ",\"tid\":" + std::to_string(tid) +
      ",\"ts\":" + microseconds(std::chrono::duration_cast<nanoseconds>(it.begin - origin)) +
      ",\"dur\":" + microseconds(std::chrono::duration_cast<nanoseconds>(it.end - it.begin)) +
      ",\"args\":{\"step\":" + std::to_string(it.step);
  for (std::size_t i = 0; i < it.argument_count; ++i) text += ',' + json_argument(it.arguments[i]);
  return text + "}}";
}

/// When the first span began that is still kept; none if there are no spans.
inline std::optional<timeline::clock::time_point> earliest(std::span<const timeline> all) {
  std::optional<timeline::clock::time_point> first;
  for (const timeline& each : all)
    each.visit(
        [&](const timeline_span& it) { first = first ? std::min(*first, it.begin) : it.begin; });
  return first;
}

/// The events of some timelines, one a line, with a comma between two.
inline std::string trace_events(std::span<const timeline> all, timeline::clock::time_point origin) {
  std::string text;
  const auto put = [&](const std::string& event) { text += (text.empty() ? "" : ",\n") + event; };
  struct process {
    int tracks = 0;
    std::uint64_t dropped = 0;
  };
  std::map<int, process> ranks;
  for (const timeline& each : all) {
    process& own = ranks[each.rank()];
    const int first = own.tracks;  // each timeline's tracks are its own: threads overlap in time
    for (const std::string& track : each.tracks())
      put(metadata_event("thread_name", each.rank(), own.tracks++, "name", json_string(track)));
    each.visit([&](const timeline_span& it) {
      put(span_event(it, each.rank(), first + it.track, origin));
    });
    own.dropped += each.dropped();
  }
  for (const auto& [rank, its] : ranks) {
    put(metadata_event("process_name", rank, 0, "name",
                       json_string("rank " + std::to_string(rank))));
    put(metadata_event("process_sort_index", rank, 0, "sort_index", std::to_string(rank)));
    if (its.dropped > 0)
      put(metadata_event("process_labels", rank, 0, "labels",
                         json_string(std::to_string(its.dropped) + " earlier spans dropped")));
  }
  return text;
}

/// A whole trace from its events.
inline std::string trace_of(const std::string& events) {
  return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + events + "\n]}\n";
}

}  // namespace detail

/// Writes the timelines of one or several ranks as one trace in the Trace Event Format, which
/// https://ui.perfetto.dev and chrome://tracing show: a process for each rank, a thread for each
/// track of each timeline, times in microseconds since `origin`, or since the first span's begin.
/// Called when nobody records any more. Timelines of processes of one machine have the same clock;
/// give the same `origin` to their traces if each writes its own. Throws allfold::error if `out`
/// fails.
inline void write_trace(std::ostream& out, std::span<const timeline> all,
                        std::optional<timeline::clock::time_point> origin = {}) {
  if (!origin) origin = detail::earliest(all).value_or(timeline::clock::time_point{});
  out << detail::trace_of(detail::trace_events(all, *origin));
  if (!out.flush()) throw error{"allfold: write_trace: can't write to the stream"};
}

/// The same to the file `path`. Throws allfold::error naming the file if it can't be written.
inline void write_trace(const std::string& path, std::span<const timeline> all,
                        std::optional<timeline::clock::time_point> origin = {}) {
  if (!origin) origin = detail::earliest(all).value_or(timeline::clock::time_point{});
  detail::output_file file{"write_trace", path};
  file.write(detail::trace_of(detail::trace_events(all, *origin)));
  file.flush();
}

}  // namespace allfold
