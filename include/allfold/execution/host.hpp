// Runs any schedule on host memory.
#pragma once

#include <allfold/execution/far.hpp>
#include <allfold/execution/fold.hpp>
#include <allfold/schedule/partition.hpp>
#include <allfold/schedule/pipeline.hpp>
#include <concepts>
#include <vector>

namespace allfold {

/// How one rank reaches the others during one collective: what an execution needs of a
/// communicator.
///  - address(rank, where): that rank's buffer; may wait until the rank has entered, and checks on
///    the first contact that it entered the same collective;
///  - wait_entered(rank), wait_progress(rank, n): return once the rank has entered, or completed n
///    turns of this collective; what it wrote before is visible then;
///  - publish(n): this rank has completed n turns; all that it wrote becomes visible with it;
///  - begin_folding(), end_folding(): between them this rank uses other ranks' memory; the first
///  may
///    throw if that must not be done any more;
///  - moved(read, written): counts bytes.
template <class Port>
concept host_port = requires(Port& port, int n, std::uint64_t turns, buffer where) {
  { port.rank() } -> std::same_as<int>;
  { port.size() } -> std::same_as<int>;
  { port.address(n, where) } -> std::same_as<std::byte*>;
  port.wait_entered(n);
  port.wait_progress(n, turns);
  port.publish(turns);
  port.begin_folding();
  port.end_folding();
  port.moved(turns, turns);
};

namespace detail {

/// One rank's walk through a schedule, step by step.
template <class T, class Schedule, class Port, class Operation>
class host_run {
 public:
  host_run(Port& port, const Schedule& plan, const partition& parts, const Operation& operation)
      : port_{port},
        plan_{plan},
        parts_{parts},
        operation_{operation},
        line_{plan, port.size(), parts.pieces()} {}

  std::uint64_t operator()() {
    if constexpr (reads_slots<Schedule> && Schedule::kind == collective::all_reduce)
      if (plan_.steps(port_.size()) == 1 && parts_.pieces() == 1 && parts_.chunks() == 1)
        return one_hop();
    const int rank = port_.rank();
    const int size = port_.size();
    const std::uint64_t turns = line_.turns();
    for (int round = 0; round < line_.rounds(); ++round)
      for (int index = 0; index < line_.steps(); ++index) {
        const int piece = line_.piece_of(round, index);
        if (line_.is_live(piece)) {
          const step now = plan_.at(rank, size, index);
          if (now.idle()) continue;  // nobody waits for a step without work
          await(now.waits, piece);
          if (!now.sources.empty()) carry_out(now, piece);
          port_.publish(line_.progress_in(round, index));
        }
      }
    if (turns > 0) port_.publish(turns);
    const waits list = plan_.exit(rank, size);
    for (int piece = parts_.pieces() - 1; piece >= 0 && !list.empty(); --piece) await(list, piece);
    return turns;
  }

 private:
  void await(const waits& list, int piece) {
    for (const wait& each : list)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, port_.size());
        if (peer == port_.rank()) continue;
        if (each.step == entered)
          port_.wait_entered(peer);
        else
          port_.wait_progress(peer, line_.progress_after(each.step, piece));
      }
  }

  /// The same for a single step that folds slots into the rank's own output: short messages, for
  /// which the bookkeeping of the general case would take as long as everything else. What the rank
  /// has put into its own slot it takes from its input: the slot's cache line is with the others.
  std::uint64_t one_hop() {
    const int rank = port_.rank();
    const int size = port_.size();
    const step now = plan_.at(rank, size, 0);
    await(now.waits, 0);
    T* pointers[max_pointers];
    std::vector<T*> more;
    T** const slots = room_for(number_of(now.sources), pointers, more);
    int sources = 0;
    for (const operand& each : now.sources)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, size);
        std::byte* const at = port_.address(peer, peer == rank ? buffer::input : buffer::slot);
        slots[sources++] = reinterpret_cast<T*>(at);
      }
    T* output = reinterpret_cast<T*>(port_.address(rank, buffer::output));
    const std::size_t count = parts_.of(0, 1, 0).count;
    fold<T>(slots, sources, &output, 1, count, operation_, now.completes ? size : 0);
    port_.moved(count * sizeof(T) * static_cast<std::uint64_t>(sources), count * sizeof(T));
    port_.publish(1);
    await(plan_.exit(rank, size), 0);
    return 1;
  }

  /// Slots belong to the communicator, so that reading them needs no leave.
  struct folding {
    static constexpr bool needed = !reads_slots<Schedule>;
    Port& port;
    explicit folding(Port& its) : port{its} {
      if constexpr (needed) port.begin_folding();
    }
    ~folding() {
      if constexpr (needed) port.end_folding();
    }
    folding(const folding&) = delete;
    folding& operator=(const folding&) = delete;
  };

  void carry_out(const step& now, int piece) {
    const extent elements = parts_.of(now.chunk, now.width, piece);
    if constexpr (far_port<Port>)
      if (is_far(now.sources) || is_far(now.targets)) return carry_out_afar(now, piece, elements);
    T* pointers[max_pointers];
    std::vector<T*> more;
    T** const list = room_for(number_of(now.sources) + number_of(now.targets), pointers, more);
    const int sources = locate(now.sources, piece, list);
    const int targets = locate(now.targets, piece, list + sources);
    const int finish_ranks = now.completes ? port_.size() : 0;
    const folding guard{port_};
    if constexpr (folds(Schedule::kind))
      fold<T>(list, sources, list + sources, targets, elements.count, operation_, finish_ranks);
    else
      copy<T>(list[0], list + sources, targets, elements.count);
    const std::uint64_t bytes = elements.count * sizeof(T);
    const bool stays = sources == 1 && targets == 1 && list[0] == list[1];
    if (!stays)
      port_.moved(bytes * static_cast<std::uint64_t>(sources),
                  bytes * static_cast<std::uint64_t>(targets));
  }

  /// The same where not all of the elements can be addressed from here.
  void carry_out_afar(const step& now, int piece, const extent& elements) {
    const auto sources = located_afar(now.sources, piece);
    const auto targets = located_afar(now.targets, piece);
    const folding guard{port_};
    far_work<T, Port> work{port_, sources, targets};
    if constexpr (folds(Schedule::kind))
      work.fold_all(elements.count, operation_, now.completes ? port_.size() : 0);
    else
      work.copy_all(elements.count);
    const std::uint64_t bytes = elements.count * sizeof(T);
    port_.moved(bytes * sources.size(), bytes * targets.size());
  }
  template <int N>
  bool is_far(const few<operand, N>& operands) {
    for (const operand& each : operands)
      for (int i = 0; i < each.who.count; ++i)
        if (port_.is_far(each.who.at(i, port_.size()), each.where)) return true;
    return false;
  }
  template <int N>
  std::vector<far_place<T>> located_afar(const few<operand, N>& operands, int piece) {
    std::vector<far_place<T>> places;
    for (const operand& each : operands)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, port_.size());
        T* const base = reinterpret_cast<T*>(port_.address(peer, each.where));
        places.push_back({base == nullptr ? nullptr : base + offset_of(each, piece),
                          port_.is_far(peer, each.where) ? peer : -1});
      }
    return places;
  }

  /// `pointers`, or `more` in the place of it: only where there are very many ranks.
  static T** room_for(int needed, T** pointers, std::vector<T*>& more) {
    if (needed <= max_pointers) return pointers;
    more.resize(static_cast<std::size_t>(needed));
    return more.data();
  }
  template <int N>
  static int number_of(const few<operand, N>& operands) {
    int number = 0;
    for (const operand& each : operands) number += each.who.count;
    return number;
  }

  /// The places of the operands' elements in memory.
  template <int N>
  int locate(const few<operand, N>& operands, int piece, T** places) {
    int number = 0;
    for (const operand& each : operands) {
      const std::size_t offset = offset_of(each, piece);
      for (int i = 0; i < each.who.count; ++i) {
        std::byte* const base = port_.address(each.who.at(i, port_.size()), each.where);
        places[number++] = base == nullptr ? nullptr : reinterpret_cast<T*>(base) + offset;
      }
    }
    return number;
  }
  std::size_t offset_of(const operand& it, int piece) const {
    if (holds_own_chunk(Schedule::kind, it.where)) return 0;
    if (it.chunk == 0 && piece == 0) return 0;
    if (it.where != buffer::scratch) return parts_.begin(it.chunk, piece);
    // Chunks of scratch memory lie side by side, each as long as the longest chunk. Pieces divide
    // scratch memory only where there is a single chunk (see pieces_for).
    return static_cast<std::size_t>(it.chunk) * parts_.longest() + parts_.begin(0, piece);
  }

  static constexpr int max_pointers = 64;
  Port& port_;
  const Schedule& plan_;
  const partition& parts_;
  const Operation& operation_;
  pipeline<Schedule> line_;
};

}  // namespace detail

/// Into how many pieces a schedule's chunks are cut for `bytes` bytes in all: so many that a chunk
/// of a piece has about `piece_bytes`, which keeps what is in flight in the caches. One piece if
/// the schedule names no piece_bytes of its own.
template <class Schedule>
constexpr int pieces_for(const Schedule& plan, int size, std::size_t bytes,
                         std::size_t piece_bytes) {
  if constexpr (requires { Schedule::piece_bytes; }) {
    const int chunks = plan.chunks(size);
    if (scratch_chunks_of(plan, size) > 0 && chunks > 1) return 1;
    const std::size_t piece = piece_bytes * static_cast<std::size_t>(chunks);
    constexpr std::size_t most = 1 << 20;  // so that the number of turns stays an int's
    const std::size_t pieces = (bytes + piece - 1) / piece;
    return static_cast<int>(pieces < 1 ? 1 : pieces < most ? pieces : most);
  } else {
    return 1;
  }
}

/// The same with the schedule's own piece_bytes.
template <class Schedule>
constexpr int pieces_for(const Schedule& plan, int size, std::size_t bytes) {
  if constexpr (requires { Schedule::piece_bytes; })
    return pieces_for(plan, size, bytes, Schedule::piece_bytes);
  else
    return 1;
}

/// Carries out one rank's part of a schedule: for each step waits, folds, publishes; then waits
/// until no other rank uses this rank's memory. Every rank calls it with the same schedule,
/// partition and operation. May throw what the port, the operation and the schedule throw.
template <class T, schedule Schedule, host_port Port, class Operation>
std::uint64_t run_on_host(Port& port, const Schedule& plan, const partition& parts,
                          const Operation& operation) {
  return detail::host_run<T, Schedule, Port, Operation>{port, plan, parts, operation}();
}

}  // namespace allfold
