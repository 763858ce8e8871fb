// A schedule as a picture: what every rank's memory holds, round by round, and who moves it.
#pragma once

#include "drawing.hpp"
#include "recording.hpp"

namespace allfold::docs {

/// "1: step 2", "1 entered", "all entered": whom a rank waits for. It never waits for itself.
inline std::string awaited(const wait& each, int rank, int size) {
  std::string who;
  int number = 0;
  for (int i = 0; i < each.who.count; ++i) {
    const int peer = each.who.at(i, size);
    if (peer == rank) continue;
    who += (number++ > 0 ? " and " : "") + to_string(peer);
  }
  if (number == 0) return {};
  if (number == size - 1 && size > 2) who = "all";
  return who + (each.step == entered ? " entered" : ": step " + to_string(each.step));
}

/// In place, so that a rank's input and output are one row of boxes.
template <class Schedule>
class picture {
 public:
  picture(std::string title, int ranks, Schedule plan)
      : record_{ranks, plan},
        title_{std::move(title)},
        size_{ranks},
        chunks_{plan.chunks(ranks)},
        scratch_{scratch_chunks_of(plan, ranks)},
        memory_{ranks, std::max(chunks_, scratch_), 1, true},
        known_(recording<Schedule>::at(ranks)) {
    contribute_inputs(memory_, plan, ranks, 1);
    for (int rank = 0; rank < ranks; ++rank) {
      known_[at(rank)].assign(1, rank);
      if (reads_slots<Schedule>) memory_.contribute(rank, buffer::input, 0, 0);
    }
    width_ = left + size_ * column;
  }

  std::string draw() {
    page_.text(14, 26, title_, "title", "start");
    for (int rank = 0; rank < size_; ++rank)
      page_.text(middle(rank), 50, "rank " + to_string(rank), "head");
    y_ = 62;
    if (chunks_ > 1) draw_chunk_numbers();
    draw_memory(0);
    const int rounds = is_barrier && record_.steps == 0 ? 1 : record_.rounds;
    for (int round = 1; round <= rounds; ++round) {
      draw_round(round);
      draw_memory(round);
    }
    draw_exits();
    draw_fold_order();
    return page_.page(width_, y_ + 6);
  }

 private:
  static constexpr int left = 76, strip = 208, column = strip + 26, apart = 5;
  static constexpr int box_height = 24, gap = 76;
  static constexpr bool is_barrier = Schedule::kind == collective::barrier;
  static constexpr bool is_fold = folds(Schedule::kind);

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  int middle(int rank) const { return left + rank * column + strip / 2; }
  int box_width() const { return chunks_ == 1 ? 104 : chunks_ == 2 ? 84 : 48; }
  int box_x(int rank, int chunk, int of) const {
    return middle(rank) - (of * (box_width() + apart) - apart) / 2 + chunk * (box_width() + apart);
  }
  /// The middle of some chunks.
  int center_x(int rank, int chunk, int width, int of) const {
    return (box_x(rank, chunk, of) + box_x(rank, chunk + width - 1, of) + box_width()) / 2;
  }

  void draw_chunk_numbers() {
    for (int rank = 0; rank < size_; ++rank)
      for (int chunk = 0; chunk < chunks_; ++chunk)
        page_.text(box_x(rank, chunk, chunks_) + box_width() / 2, y_ + 4,
                   (chunk == 0 ? "chunk " : "") + to_string(chunk), "soft");
    y_ += 10;
  }

  // ---- memory ----

  /// The strips of boxes that each rank has.
  struct lane {
    buffer where;
    int boxes;
    const char* name;
  };
  std::vector<lane> lanes() const {
    std::vector<lane> list;
    list.push_back({buffer::input, chunks_, is_barrier ? "knows of" : "data"});
    if (reads_slots<Schedule>) list.push_back({buffer::slot, chunks_, "slot"});
    if (scratch_ > 0) list.push_back({buffer::scratch, scratch_, "scratch"});
    return list;
  }
  int lane_y(buffer where) const {
    int y = memory_y_;
    for (const lane& each : lanes()) {
      if (each.where == recording<Schedule>::place(where)) return y;
      y += box_height + 6;
    }
    return y;
  }

  void draw_memory(int round) {
    memory_y_ = y_;
    for (const lane& each : lanes()) {
      page_.text(left - 8, y_ + 16, each.name, "soft", "end");
      for (int rank = 0; rank < size_; ++rank)
        for (int chunk = 0; chunk < each.boxes; ++chunk)
          draw_box(rank, each, chunk, is_written(round, rank, each.where, chunk));
      y_ += box_height + 6;
    }
    y_ -= 6;
  }

  /// A box is filled by the contributions that it holds, in the order in which they were folded.
  void draw_box(int rank, const lane& strip_of, int chunk, bool fresh) {
    const int x = box_x(rank, chunk, strip_of.boxes), width = box_width();
    std::vector<int> parts;
    if (is_barrier) {
      parts = known_[at(rank)];
    } else {
      const int held = memory_.at(rank, strip_of.where, chunk, 0);
      if (held >= 0) leaves(memory_, held, parts);
    }
    const int part_width = is_fold || is_barrier ? width / size_ : width;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const int owner = is_barrier ? parts[i] : memory_[parts[i]].rank;
      const int part_x = x + static_cast<int>(i) * part_width;
      page_.box(part_x, y_, part_width, box_height,
                std::string{"fill='"} + tones[owner].light + "'");
      page_.text(part_x + part_width / 2, y_ + 16, label(parts[i], owner), "held");
    }
    const bool library = strip_of.where == buffer::scratch || strip_of.where == buffer::slot;
    page_.box(x, y_, width, box_height,
              "fill='none' stroke='" + std::string{fresh ? "#222" : "#999"} + "' stroke-width='" +
                  (fresh ? "2" : "1") + "'" + (library ? " stroke-dasharray='4 2'" : ""));
  }
  std::string label(int part, int owner) const {
    if (is_fold || is_barrier || chunks_ == 1) return to_string(owner);
    return to_string(owner) + "." + to_string(memory_[part].chunk);
  }
  bool is_written(int round, int rank, buffer where, int chunk) const {
    for (const action& each : record_.actions) {
      if (each.round != round) continue;
      for (const operand& to : each.what.targets)
        for (int i = 0; i < to.who.count; ++i)
          if (to.who.at(i, size_) == rank && recording<Schedule>::place(to.where) == where &&
              to.chunk <= chunk && chunk < to.chunk + each.what.width)
            return true;
    }
    return false;
  }

  // ---- steps ----

  void draw_round(int round) {
    const int bottom = y_, below = y_ + gap;
    page_.text(left - 8, y_ + gap / 2 + 4, "round " + to_string(round), "soft", "end");
    const auto list = actions_of(round);
    for (const action& each : list) draw_lines(each, bottom, below);
    for (const action& each : list) draw_pill(each, bottom + gap / 2);
    take(list);
    y_ = below;
  }
  std::vector<action> actions_of(int round) const {
    if (is_barrier && record_.steps == 0) return record_.exits;
    std::vector<action> list;
    for (const action& each : record_.actions)
      if (each.round == round) list.push_back(each);
    return list;
  }

  void draw_lines(const action& each, int bottom, int below) {
    const int x = middle(each.rank), y = bottom + gap / 2;
    const std::string color = std::string{"stroke='"} + tones[each.rank].dark + "' ";
    const auto to_box = [&](const operand& it, auto draw_line) {
      const int of = it.where == buffer::scratch ? scratch_ : chunks_;
      for (int i = 0; i < it.who.count; ++i)
        draw_line(center_x(it.who.at(i, size_), it.chunk, each.what.width, of), it.where);
    };
    for (const operand& it : each.what.sources)
      to_box(it, [&](int from, buffer where) {
        page_.line(from, lane_y(where) + box_height, x, y - 9, color + "stroke-width='1.5'");
      });
    for (const operand& it : each.what.targets)
      to_box(it, [&](int to, buffer where) {
        const int y2 = below + lane_y(where) - memory_y_ - 1;
        page_.line(x, y + 9, to, y2,
                   color + "stroke-width='1.5' marker-end='url(#a" + to_string(each.rank) + ")'");
      });
    if (!each.what.sources.empty()) return;
    for (const wait& it : each.what.waits)
      for (int i = 0; i < it.who.count; ++i)
        page_.line(middle(it.who.at(i, size_)), bottom, x, y - 9,
                   color + "stroke-width='1.5' stroke-dasharray='3 3'");
  }

  void draw_pill(const action& each, int y) {
    const int x = middle(each.rank), sources = count_of(each.what);
    page_.box(x - 19, y - 9, 38, 18, std::string{"rx='9' fill='"} + tones[each.rank].dark + "'");
    page_.text(x, y + 4, sources == 0 ? "wait" : sources == 1 ? "copy" : "fold", "pill");
    std::vector<std::string> notes = notes_of(each);
    notes.insert(notes.begin(),
                 each.index < record_.steps ? "step " + to_string(each.index) : "exit");
    int line_y = y + 4 - static_cast<int>(notes.size() - 1) * 6;
    for (const std::string& note : notes) {
      page_.text(x + 24, line_y, note, "note", "start");
      line_y += 12;
    }
  }
  /// "after 1: step 2", "and 3: step 2".
  std::vector<std::string> notes_of(const action& each) const {
    std::vector<std::string> notes;
    for (const wait& it : each.what.waits) {
      const std::string who = awaited(it, each.rank, size_);
      if (!who.empty()) notes.push_back((notes.empty() ? "after " : "and ") + who);
    }
    return notes;
  }
  int count_of(const step& what) const {
    int number = 0;
    for (const operand& it : what.sources) number += it.who.count;
    return number;
  }

  void take(const std::vector<action>& list) {
    const std::vector<std::vector<int>> before = known_;
    for (const action& each : list) {
      if (!is_barrier) memory_.apply(each.what, 0);
      std::vector<int>& mine = known_[at(each.rank)];
      for (const wait& it : each.what.waits)
        for (int i = 0; i < it.who.count; ++i)
          for (const int other : before[at(it.who.at(i, size_))])
            if (std::ranges::find(mine, other) == mine.end()) mine.push_back(other);
      std::ranges::sort(mine);
    }
  }

  // ---- what is below ----

  void draw_exits() {
    y_ += 18;
    if (is_barrier && record_.steps == 0) return;
    page_.text(left - 8, y_, "leaves", "soft", "end");
    std::size_t lines = 1;
    for (const action& each : record_.exits) {
      std::vector<std::string> notes = notes_of(each);
      if (notes.empty()) notes.push_back("at once");
      for (std::size_t i = 0; i < notes.size(); ++i)
        page_.text(middle(each.rank), y_ + static_cast<int>(i) * 12, notes[i], "soft");
      lines = std::max(lines, notes.size());
    }
    y_ += 12 * static_cast<int>(lines);
  }

  /// The fold of every chunk, as an expression.
  void draw_fold_order() {
    if (!is_fold) return;
    std::vector<std::string> orders;
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      const int holder =
          Schedule::kind == collective::reduce_scatter ? chunk : root_of(record_.plan);
      orders.push_back(words(memory_, memory_.at(holder, buffer::output, chunk, 0)));
    }
    std::string line = "every chunk is folded as " + orders[0];
    if (std::ranges::count(orders, orders[0]) != chunks_) {
      line = "folded as";
      for (int chunk = 0; chunk < chunks_; ++chunk)
        line += (chunk > 0 ? "; " : " ") + to_string(chunk) + ": " + orders[at(chunk)];
    }
    y_ += 14;
    page_.text(left, y_, line, "", "start");
    y_ += 6;
  }

  recording<Schedule> record_;
  drawing page_;
  std::string title_;
  int size_;
  int chunks_;
  int scratch_;
  fold_values memory_;                   ///< after the rounds drawn so far, in place
  std::vector<std::vector<int>> known_;  ///< in a barrier: of whose entry each rank knows
  int width_ = 0;
  int y_ = 0;         ///< where to draw next
  int memory_y_ = 0;  ///< of the strips drawn last
};

}  // namespace allfold::docs
