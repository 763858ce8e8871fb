// Collectives by MPI's non-blocking calls, cut where MPI can't count so far.
#pragma once

#include <mpi.h>

#include <allfold/communicator/byte_layout.hpp>
#include <allfold/communicator/mpi_connection.hpp>

namespace allfold::mpi {

/// Calls `body(first, count)` for pieces of at most `largest`.
template <class Body>
void in_pieces(std::size_t count, std::size_t largest, Body body) {
  for (std::size_t first = 0; first < count; first += largest)
    body(first, static_cast<int>(std::min(largest, count - first)));
}

/// Copies bytes, unless they are there already.
inline void copy_bytes(const std::byte* from, std::byte* to, std::size_t bytes) {
  if (from != to && bytes > 0) std::memcpy(to, from, bytes);
}

// MPI wants MPI_IN_PLACE from all ranks or from none, where it is not about the root alone, and may
// take another algorithm then. Ranks of this library need not agree on it, so it is always the
// same.

/// Folds elements of one type by one operation. Counts are in elements; `size` is an element's, in
/// bytes.
class folder {
 public:
  folder(connection& link, MPI_Datatype type, MPI_Op by, std::size_t size)
      : link_{link}, type_{type}, by_{by}, size_{size} {}

  void all_reduce(const std::byte* input, std::byte* output, std::size_t count) const {
    copy_bytes(input, output, count * size_);
    in_pieces(count, largest(), [&](std::size_t first, int length) {
      const auto begin = [&](MPI_Request* open) {
        return MPI_Iallreduce(MPI_IN_PLACE, output + first * size_, length, type_, by_, link_.get(),
                              open);
      };
      link_.run(begin, "MPI_Iallreduce");
    });
  }
  /// `output` is the root's, and may be its input.
  void reduce(const std::byte* input, std::byte* output, std::size_t count, int root) const {
    const bool in_place = link_.rank() == root && input == output;
    in_pieces(count, largest(), [&](std::size_t first, int length) {
      const void* const from = in_place ? MPI_IN_PLACE : input + first * size_;
      std::byte* const to = link_.rank() == root ? output + first * size_ : nullptr;
      const auto begin = [&](MPI_Request* open) {
        return MPI_Ireduce(from, to, length, type_, by_, root, link_.get(), open);
      };
      link_.run(begin, "MPI_Ireduce");
    });
  }
  /// `share` elements to every rank. `output` may be the rank's own part of `input`.
  void reduce_scatter(const std::byte* input, std::byte* output, std::size_t share) const {
    const std::size_t bytes = share * size_;
    const bool in_place = input + bytes * static_cast<std::size_t>(link_.rank()) == output;
    std::vector<std::byte>& scratch = link_.flight().scratch;
    if (in_place) scratch.resize(bytes);
    std::byte* const result = in_place ? scratch.data() : output;
    if (share <= largest() / static_cast<std::size_t>(link_.size())) {
      const auto begin = [&](MPI_Request* open) {
        return MPI_Ireduce_scatter_block(input, result, static_cast<int>(share), type_, by_,
                                         link_.get(), open);
      };
      if (share > 0) link_.run(begin, "MPI_Ireduce_scatter_block");
    } else {
      for (int root = 0; root < link_.size(); ++root)
        reduce(input + bytes * static_cast<std::size_t>(root), result, share, root);
    }
    copy_bytes(result, output, bytes);
  }

 private:
  std::size_t largest() const { return link_.settings().largest_count; }

  connection& link_;
  MPI_Datatype type_;
  MPI_Op by_;
  std::size_t size_;
};

/// Moves bytes. What all ranks have together decides whether one call of MPI will do, so that all
/// ranks decide alike; if not, ranks send pieces to each other.
class mover {
 public:
  mover(connection& link, const byte_layout& parts)
      : link_{link},
        parts_{parts},
        fits_{parts.begin(link.size()) <= largest()},
        own_{parts.bytes(link.rank())},
        length_{fits_ ? static_cast<int>(own_) : 0} {
    if (fits_ && !parts.counts.empty()) lay_out();
  }

  /// `input` is the root's. Every rank has as many bytes as this one.
  void broadcast(const std::byte* input, std::byte* output, int root) const {
    if (link_.rank() == root) copy_bytes(input, output, own_);
    in_pieces(own_, largest(), [&](std::size_t first, int length) {
      const auto begin = [&](MPI_Request* open) {
        return MPI_Ibcast(output + first, length, MPI_BYTE, root, link_.get(), open);
      };
      link_.run(begin, "MPI_Ibcast");
    });
  }
  void all_gather(const std::byte* input, std::byte* output) const {
    copy_bytes(input, output + parts_.begin(link_.rank()), own_);
    if (!fits_)
      return send_pieces([&](int peer) {
        send(input, own_, peer);
        receive(output + parts_.begin(peer), parts_.bytes(peer), peer);
      });
    const auto begin = [&](MPI_Request* open) {
      if (parts_.counts.empty())
        return MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, output, length_, MPI_BYTE, link_.get(),
                              open);
      return MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, output, counts(), begins(), MPI_BYTE,
                             link_.get(), open);
    };
    link_.run(begin, "MPI_Iallgather");
  }
  /// `input` is the root's, a part of which its output may be.
  void scatter(const std::byte* input, std::byte* output, int root) const {
    const bool gives = link_.rank() == root;
    const std::byte* const place = gives ? input + parts_.begin(root) : nullptr;
    if (!fits_) {
      if (gives) copy_bytes(place, output, own_);
      return send_pieces([&](int peer) {
        if (gives) send(input + parts_.begin(peer), parts_.bytes(peer), peer);
        if (peer == root) receive(output, own_, peer);
      });
    }
    void* const to = gives && place == output ? MPI_IN_PLACE : output;
    const auto begin = [&](MPI_Request* open) {
      if (parts_.counts.empty())
        return MPI_Iscatter(input, length_, MPI_BYTE, to, length_, MPI_BYTE, root, link_.get(),
                            open);
      return MPI_Iscatterv(input, counts(), begins(), MPI_BYTE, to, length_, MPI_BYTE, root,
                           link_.get(), open);
    };
    link_.run(begin, "MPI_Iscatter");
  }
  /// `output` is the root's, a part of which its input may be.
  void gather(const std::byte* input, std::byte* output, int root) const {
    const bool gets = link_.rank() == root;
    std::byte* const place = gets ? output + parts_.begin(root) : nullptr;
    if (!fits_) {
      if (gets) copy_bytes(input, place, own_);
      return send_pieces([&](int peer) {
        if (peer == root) send(input, own_, peer);
        if (gets) receive(output + parts_.begin(peer), parts_.bytes(peer), peer);
      });
    }
    const void* const from = gets && place == input ? MPI_IN_PLACE : input;
    const auto begin = [&](MPI_Request* open) {
      if (parts_.counts.empty())
        return MPI_Igather(from, length_, MPI_BYTE, output, length_, MPI_BYTE, root, link_.get(),
                           open);
      return MPI_Igatherv(from, length_, MPI_BYTE, output, counts(), begins(), MPI_BYTE, root,
                          link_.get(), open);
    };
    link_.run(begin, "MPI_Igather");
  }
  /// Part r of rank s becomes part s of rank r. In place a copy is set aside.
  void exchange(const std::byte* input, std::byte* output) const {
    if (input == output) {
      link_.flight().scratch.assign(input, input + parts_.begin(link_.size()));
      input = link_.flight().scratch.data();
    }
    if (!fits_) {
      const std::size_t own = parts_.begin(link_.rank());
      copy_bytes(input + own, output + own, own_);
      return send_pieces([&](int peer) {
        send(input + parts_.begin(peer), own_, peer);
        receive(output + parts_.begin(peer), own_, peer);
      });
    }
    const auto begin = [&](MPI_Request* open) {
      return MPI_Ialltoall(input, length_, MPI_BYTE, output, length_, MPI_BYTE, link_.get(), open);
    };
    link_.run(begin, "MPI_Ialltoall");
  }
  /// If ranks have compared the call, all are there.
  void barrier() const {
    if (link_.compares()) return;
    const auto begin = [&](MPI_Request* open) { return MPI_Ibarrier(link_.get(), open); };
    link_.run_on_own(begin, "MPI_Ibarrier");
  }

 private:
  std::size_t largest() const { return link_.settings().largest_count; }

  /// All ranks' bytes as MPI counts them. They stay there until the next call.
  void lay_out() const {
    in_flight& flight = link_.flight();
    flight.counts.clear();
    flight.begins.assign(1, 0);
    for (int peer = 0; peer < link_.size(); ++peer) {
      flight.counts.push_back(static_cast<int>(parts_.bytes(peer)));
      flight.begins.push_back(flight.begins.back() + flight.counts.back());
    }
  }
  const int* counts() const { return link_.flight().counts.data(); }
  const int* begins() const { return link_.flight().begins.data(); }

  /// Has `with(peer)` begin to send to and receive from every other rank, and waits for it all.
  template <class With>
  void send_pieces(With with) const {
    for (int peer = 0; peer < link_.size(); ++peer)
      if (peer != link_.rank()) with(peer);
    link_.run_all("MPI_Isend and MPI_Irecv");
  }
  void send(const std::byte* from, std::size_t bytes, int to) const {
    in_pieces(bytes, largest(), [&](std::size_t first, int length) {
      MPI_Request& open = link_.flight().requests.emplace_back(MPI_REQUEST_NULL);
      link_.take(MPI_Isend(from + first, length, MPI_BYTE, to, tag_of_elements, link_.get(), &open),
                 "MPI_Isend");
    });
  }
  void receive(std::byte* into, std::size_t bytes, int from) const {
    in_pieces(bytes, largest(), [&](std::size_t first, int length) {
      MPI_Request& open = link_.flight().requests.emplace_back(MPI_REQUEST_NULL);
      link_.take(
          MPI_Irecv(into + first, length, MPI_BYTE, from, tag_of_elements, link_.get(), &open),
          "MPI_Irecv");
    });
  }

  connection& link_;
  byte_layout parts_;
  bool fits_;
  std::size_t own_;
  int length_;  ///< the same for MPI, if one call of it will do
};

}  // namespace allfold::mpi
