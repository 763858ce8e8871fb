// Devices that do what their streams are given later, in any order that the streams' waits allow.
#pragma once

#include <algorithm>
#include <allfold/allfold.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace lazy {

struct stream;

}  // namespace lazy

template <>
inline constexpr bool allfold::is_device_stream<lazy::stream*> = true;

namespace lazy {

/// One rank's part of a collective.
struct member {
  const void* input = nullptr;
  void* output = nullptr;
  stream* in = nullptr;
};
/// A collective that begins when it is next in the streams of all its ranks.
struct gathering {
  std::string name;
  std::vector<member> members;
  std::function<void(const std::vector<member>&)> work;
  bool dead = false;  ///< given up, as kernels do: a rank of it is gone, or its team has failed
};
/// What a stream is given: a collective, work of its own, or a wait for another stream.
struct item {
  std::shared_ptr<gathering> together;
  std::function<void()> alone;
  const stream* awaited = nullptr;
  std::size_t until = 0;
};
enum class tier { inside, across };

struct stream {
  tier which;
  std::deque<item> next;
  std::size_t given = 0, done = 0;
};

/// Which of the streams that could go on does so first.
enum class preference { none, inside, across };

/// The devices of all ranks. They work while a rank waits for its stream, on that rank's thread.
class machine {
 public:
  explicit machine(preference first = preference::none, unsigned seed = 1)
      : first_{first}, random_{seed} {}

  stream* make_stream(tier which) {
    const std::lock_guard lock{door_};
    streams_.push_back(std::make_unique<stream>(stream{which, {}, 0, 0}));
    return streams_.back().get();
  }
  void give(stream* to, std::function<void()> work) { push(to, {{}, std::move(work), nullptr, 0}); }
  void hold_back(stream* to, const stream* awaited, std::size_t until) {
    push(to, {{}, {}, awaited, until});
  }
  std::size_t so_far(const stream* of) {
    const std::lock_guard lock{door_};
    return of->given;
  }
  /// One rank's part of the collective that has this number in its team.
  void give(const void* team, std::uint64_t number, int rank, int size, const std::string& name,
            member mine, std::function<void(const std::vector<member>&)> work) {
    std::shared_ptr<gathering> its;
    {
      const std::lock_guard lock{door_};
      std::shared_ptr<gathering>& found = open_[{team, number}];
      if (!found) found = std::make_shared<gathering>();
      its = found;
      its->name = name;
      its->members.resize(static_cast<std::size_t>(size));
      its->members[static_cast<std::size_t>(rank)] = mine;
      its->work = std::move(work);
      its->dead = its->dead || stopped_.count(team) != 0;
    }
    push(mine.in, {std::move(its), {}, nullptr, 0});
  }
  /// Works until the stream has nothing left to do; `look()` throws where nobody is to wait on.
  template <class Look>
  void finish(stream* own, Look look) {
    std::unique_lock lock{door_};
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    bool worked = false;
    while (!own->next.empty()) {
      if (go_on()) {
        worked = true;
        continue;
      }
      if (std::exchange(worked, false)) changed_.notify_all();
      look();
      if (std::chrono::steady_clock::now() > end)
        throw allfold::timeout_error{"allfold: a stream of a lazy device stands still"};
      changed_.wait_for(lock, std::chrono::milliseconds{2});
    }
    if (worked) changed_.notify_all();
  }
  /// Collectives of this team that have not begun are given up; streams go on behind them.
  void stop(const void* team) {
    const std::lock_guard lock{door_};
    stopped_.insert(team);
    for (const auto& [key, each] : open_)
      if (key.first == team) each->dead = true;
    changed_.notify_all();
  }
  /// What the stream has not done is never done.
  void cancel(stream* own) {
    const std::lock_guard lock{door_};
    for (const item& each : own->next)
      if (each.together) each.together->dead = true;
    own->next.clear();
    own->done = own->given;
  }
  /// The names of the collectives that were carried out, in this order.
  std::vector<std::string> log() {
    const std::lock_guard lock{door_};
    return log_;
  }

 private:
  void push(stream* to, item what) {
    const std::lock_guard lock{door_};
    to->next.push_back(std::move(what));
    ++to->given;
    changed_.notify_all();
  }
  static bool ready(const stream& its) {
    if (its.next.empty()) return false;
    const item& it = its.next.front();
    if (it.awaited != nullptr) return it.awaited->done >= it.until;
    if (!it.together || it.together->dead) return true;
    const auto is_next = [&](const member& each) {
      return each.in != nullptr && !each.in->next.empty() &&
             each.in->next.front().together == it.together;
    };
    return !it.together->dead &&
           std::all_of(it.together->members.begin(), it.together->members.end(), is_next);
  }
  /// Does one thing that is next in a stream.
  bool go_on() {
    std::vector<stream*> able, liked;
    for (const auto& each : streams_)
      if (ready(*each)) able.push_back(each.get());
    for (stream* const each : able)
      if (first_ != preference::none &&
          (each->which == tier::across) == (first_ == preference::across))
        liked.push_back(each);
    const std::vector<stream*>& among = liked.empty() ? able : liked;
    if (among.empty()) return false;
    stream* const chosen = among[random_() % among.size()];
    const item it = chosen->next.front();
    if (it.together && !it.together->dead) {
      it.together->work(it.together->members);
      log_.push_back(it.together->name);
      for (const member& each : it.together->members) pop(each.in);
    } else {
      if (it.alone) it.alone();
      pop(chosen);
    }
    return true;
  }
  static void pop(stream* from) {
    from->next.pop_front();
    ++from->done;
  }

  preference first_;
  std::mt19937 random_;
  std::mutex door_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<stream>> streams_;
  std::map<std::pair<const void*, std::uint64_t>, std::shared_ptr<gathering>> open_;
  std::set<const void*> stopped_;
  std::vector<std::string> log_;
};

class event final : public allfold::stream_mark {
 public:
  explicit event(machine& on) : machine_{on} {}
  void record(void* of) override {
    in_ = static_cast<stream*>(of);
    at_ = machine_.so_far(in_);
  }
  void hold_back(void* of) const override {
    if (in_ != nullptr) machine_.hold_back(static_cast<stream*>(of), in_, at_);
  }

 private:
  machine& machine_;
  const stream* in_ = nullptr;
  std::size_t at_ = 0;
};

/// What a collective does to its ranks' memory. Folds are in rank order.
template <allfold::collective Kind, class T, class Operation>
void carry_out(const std::vector<member>& all, std::size_t count, const allfold::partition& parts,
               int root, const Operation& operation) {
  using allfold::collective;
  const auto size = static_cast<int>(all.size());
  const auto input = [&](int r) {
    return static_cast<const T*>(all[static_cast<std::size_t>(r)].input);
  };
  std::vector<T> result(count);
  if constexpr (folds(Kind)) {
    for (std::size_t i = 0; i < count; ++i) {
      T value = input(0)[i];
      for (int r = 1; r < size; ++r) value = static_cast<T>(operation(value, input(r)[i]));
      if constexpr (requires { operation.finish(value, size); })
        value = operation.finish(value, size);
      result[i] = value;
    }
  } else if constexpr (Kind == collective::all_gather) {
    for (int r = 0; r < size; ++r) {
      const allfold::extent own = parts.of(r, 1, 0);
      if (own.count != 0) std::copy_n(input(r), own.count, result.data() + own.begin);
    }
  } else if (count != 0) {
    std::copy_n(input(root), count, result.data());
  }
  for (int r = 0; r < size; ++r) {
    if (Kind == collective::reduce && r != root) continue;
    const bool own = Kind == collective::reduce_scatter || Kind == collective::scatter;
    const allfold::extent what = own ? parts.of(r, 1, 0) : allfold::extent{0, count};
    if (what.count != 0)
      std::copy_n(result.data() + what.begin, what.count,
                  static_cast<T*>(all[static_cast<std::size_t>(r)].output));
  }
}

/// How ranks come together in a call: their threads meet and compare it, as those of
/// cuda::communicator, or it is only given to streams, as by ranks that are processes.
enum class meeting { threads_meet, at_once };

/// What communicators of both levels have in common.
class ranks {
 public:
  static constexpr allfold::memory_space space = allfold::memory_space::device;

  ranks(allfold::threads::communicator control, std::shared_ptr<machine> on, tier which,
        meeting how)
      : control_{std::move(control)},
        which_{which},
        how_{how},
        seat_{std::make_unique<seat>(on, which)} {}

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }
  machine& on() { return *seat_->on; }
  lazy::stream* stream() const { return seat_->its; }
  std::unique_ptr<allfold::stream_mark> mark() const { return std::make_unique<event>(*seat_->on); }
  bool enqueues_at_once() const { return how_ == meeting::at_once; }
  void abort(const std::string& why) {
    control_.abort(why);
    on().stop(control_.shared().get());
  }
  void leave_with(const std::exception_ptr& thrown) {
    control_.leave_with(thrown);
    on().stop(control_.shared().get());
  }
  std::vector<std::uint64_t> gather_numbers(std::uint64_t mine, std::source_location where) {
    return control_.gather(mine, where);
  }
  template <class T>
  void multiply(allfold::device_span<T> elements, double factor) {
    on().give(stream(), [=] {
      for (std::size_t i = 0; i < elements.size(); ++i)
        elements.data()[i] = static_cast<T>(elements.data()[i] * static_cast<T>(factor));
    });
  }
  void synchronize() {
    const auto look = [&] {
      if (control_.shared()->failed()) control_.shared()->throw_failure(rank(), "synchronize");
    };
    on().finish(stream(), look);
    look();
  }

 protected:
  template <class Work>
  void give(const allfold::call& said, const void* input, void* output, Work work) {
    if (control_.shared()->failed()) control_.shared()->throw_failure(rank(), "a call");
    if (how_ == meeting::threads_meet) control_.meet(said);
    const std::string name =
        (which_ == tier::inside ? "inside " : "across ") + std::string{name_of(said.kind->what)};
    on().give(control_.shared().get(), calls_++, rank(), size(), name, {input, output, stream()},
              std::move(work));
  }

  /// Streams do nothing more once their rank is gone.
  struct seat {
    seat(std::shared_ptr<machine> where, tier which)
        : on{std::move(where)}, its{on->make_stream(which)} {}
    seat(const seat&) = delete;
    seat& operator=(const seat&) = delete;
    ~seat() { on->cancel(its); }
    std::shared_ptr<machine> on;
    lazy::stream* its;
  };
  allfold::threads::communicator control_;
  tier which_;
  meeting how_;
  std::unique_ptr<seat> seat_;
  std::uint64_t calls_ = 0;
};

/// Carries out schedules, as own kernels do.
class inside : public ranks {
 public:
  static constexpr std::size_t small_bytes = 256;
  inside(allfold::threads::communicator control, std::shared_ptr<machine> on, meeting how)
      : ranks{std::move(control), std::move(on), tier::inside, how} {}
  inside companion(std::source_location where) {
    return {control_.companion(where), seat_->on, how_};
  }
  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const allfold::host::operands& memory,
           const allfold::partition& parts, const Operation& operation, const allfold::call& said) {
    const std::size_t count = parts.begin(parts.chunks(), parts.pieces() - 1);
    const int root = root_of(plan);
    give(said, memory.input, memory.output, [=](const std::vector<member>& all) {
      carry_out<Schedule::kind, T>(all, count, parts, root, operation);
    });
  }
};

/// Has an engine, as NCCL is one.
class across : public ranks {
 public:
  static constexpr bool has_engine = true;
  across(allfold::threads::communicator control, std::shared_ptr<machine> on, meeting how)
      : ranks{std::move(control), std::move(on), tier::across, how} {}
  across companion(std::source_location where) {
    return {control_.companion(where), seat_->on, how_};
  }
  template <allfold::collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>& it, const Operation& operation) {
    const std::size_t count = it.count;
    const int root = it.root;
    give(it.said, it.input, it.output, [=](const std::vector<member>& all) {
      carry_out<What, T>(all, count, {}, root, operation);
    });
  }
};

}  // namespace lazy
