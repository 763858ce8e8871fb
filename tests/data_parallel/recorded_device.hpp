// A device that does nothing but write down what it is given, and finds what is not in order.
#pragma once

#include <algorithm>
#include <allfold/allfold.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace recorded {

/// A stream. The device keeps what it is given.
struct queue {
  std::size_t number = 0;
};

}  // namespace recorded

template <>
inline constexpr bool allfold::is_device_stream<recorded::queue*> = true;

namespace recorded {

/// How much of each stream's work is done before something else begins, by the stream's number.
using done = std::map<std::size_t, std::size_t>;

inline void take_later(done& mine, const done& other) {
  for (const auto& [number, count] : other) mine[number] = std::max(mine[number], count);
}

/// A piece of work that touches memory.
struct work {
  std::string what;
  std::size_t stream = 0, place = 0;  ///< the place-th of its stream, from 1
  const void* begin = nullptr;
  std::size_t bytes = 0;
  bool writes = false;
  done before;  ///< what it waits for
};

/// One rank's device. Work of one stream is done in its order; between streams there is only the
/// order that marks make. What touches the same memory, one of them to write, must be ordered.
/// Used by several threads.
class device {
 public:
  queue* make_stream() {
    const std::lock_guard lock{door_};
    streams_.push_back({streams_.size()});
    return &streams_.back();
  }
  void give(queue* to, std::string what, const void* begin, std::size_t bytes, bool writes) {
    const std::lock_guard lock{door_};
    done& before = clocks_[to->number];
    work it{std::move(what), to->number, ++before[to->number], begin, bytes, writes, before};
    for (const work& earlier : all_)
      if (clash(earlier, it) && !is_before(earlier, it))
        faults_.push_back(it.what + " in stream " + std::to_string(it.stream) +
                          " does not wait for " + earlier.what + " in stream " +
                          std::to_string(earlier.stream));
    all_.push_back(std::move(it));
  }
  /// What has been given to a stream so far.
  done so_far(queue* of) {
    const std::lock_guard lock{door_};
    return clocks_[of->number];
  }
  void hold_back(queue* of, const done& until) {
    const std::lock_guard lock{door_};
    ++waits_;
    take_later(clocks_[of->number], until);
  }
  void count_mark() {
    const std::lock_guard lock{door_};
    ++marks_;
  }

  std::vector<std::string> faults() const { return faults_; }
  std::vector<work> all() {
    const std::lock_guard lock{door_};
    return all_;
  }
  /// The work whose name begins so, in the order in which it was given.
  std::vector<work> named(const std::string& begin) {
    std::vector<work> found = all();
    std::erase_if(found, [&](const work& it) { return it.what.rfind(begin, 0) != 0; });
    return found;
  }
  /// How many marks were made, and how often a stream was made to wait for one.
  std::size_t marks() const { return marks_; }
  std::size_t waits() const { return waits_; }

  static bool is_before(const work& first, const work& second) {
    const auto found = second.before.find(first.stream);
    return found != second.before.end() && found->second >= first.place;
  }

 private:
  static bool clash(const work& a, const work& b) {
    const auto begin = [](const work& it) { return reinterpret_cast<std::uintptr_t>(it.begin); };
    return (a.writes || b.writes) && begin(a) < begin(b) + b.bytes && begin(b) < begin(a) + a.bytes;
  }

  std::mutex door_;
  std::deque<queue> streams_;
  std::map<std::size_t, done> clocks_;  ///< by stream
  std::vector<work> all_;
  std::vector<std::string> faults_;
  std::size_t marks_ = 0, waits_ = 0;
};

/// As an event is: waiting for one that was never recorded is no wait.
class event final : public allfold::stream_mark {
 public:
  explicit event(device& on) : device_{on} { on.count_mark(); }
  void record(void* of) override { at_ = device_.so_far(static_cast<queue*>(of)); }
  void hold_back(void* of) const override { device_.hold_back(static_cast<queue*>(of), at_); }

 private:
  device& device_;
  done at_;
};

/// How ranks come together in a collective: their threads meet on the host first, as those of
/// cuda::communicator, or it is only given to the device, as by cuda::process_communicator.
enum class meeting { threads_meet, at_once };

/// A rank's communicator over its device. Collectives are the engine's, and only written down.
template <meeting How>
class world {
 public:
  static constexpr allfold::memory_space space = allfold::memory_space::device;
  static constexpr bool has_engine = true;

  world(allfold::threads::communicator control, std::shared_ptr<device> on)
      : control_{std::move(control)}, device_{std::move(on)}, stream_{device_->make_stream()} {}

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }
  device& on() { return *device_; }
  queue* stream() const { return stream_; }
  void use_stream(queue* next) {
    event here{*device_};
    here.record(stream_);
    here.hold_back(next);
    stream_ = next;
  }
  std::unique_ptr<allfold::stream_mark> mark() const { return std::make_unique<event>(*device_); }
  bool enqueues_at_once() const { return How == meeting::at_once; }
  world companion(std::source_location where = std::source_location::current()) {
    return {control_.companion(where), device_};
  }
  void abort(const std::string& why) { control_.abort(why); }
  void leave_with(const std::exception_ptr& thrown) { control_.leave_with(thrown); }
  std::vector<std::uint64_t> gather_numbers(std::uint64_t mine, std::source_location where) {
    return control_.gather(mine, where);
  }
  template <class T>
  void multiply(allfold::device_span<T> elements, double) {
    device_->give(stream_, "multiply", elements.data(), elements.size_bytes(), true);
  }
  template <allfold::collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>& it, const Operation&) {
    if (How == meeting::threads_meet) control_.meet(it.said);
    device_->give(stream_, std::string{name_of(What)}, it.output, it.count * sizeof(T), true);
  }

 private:
  allfold::threads::communicator control_;
  std::shared_ptr<device> device_;
  queue* stream_;
};

}  // namespace recorded
