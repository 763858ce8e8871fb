// How a rank over MPI tells the others that it gives up, whatever they are doing.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/post.hpp>
#include <cstring>
#include <list>
#include <string_view>
#include <vector>

namespace allfold::mpi {

/// The tags of the library's messages, on a communicator that nobody else uses.
enum tag : int { tag_of_notices = 1, tag_of_elements = 2 };

/// What a rank tells the others when it gives up. So small that MPI sends it without asking whether
/// it is awaited.
struct notice {
  std::uint64_t team;  ///< the number of the communicator
  host::failure_kind kind;
  bool is_answer;        ///< to a notice: nothing new has failed
  std::uint64_t number;  ///< of the collective that the rank is in, or calls next
  char text[1000];
};
static_assert(std::is_trivially_copyable_v<notice>);

/// A notice of a failure, with as much of the text as there is room for. Of no team yet.
inline notice notice_of(host::failure_kind kind, std::uint64_t number, std::string_view text) {
  notice made{0, kind, false, number, {}};
  std::memcpy(made.text, text.data(), std::min(text.size(), sizeof made.text - 1));
  return made;
}

/// Sends notices and looks for them. Whoever waits looks now and then, so a notice ends every wait.
/// Errors of MPI are passed over here: something has failed already.
class notices {
 public:
  /// The number of the communicator, from now on: MPI may take the place of one that has been freed
  /// for another, and late messages of the old one for the new one's.
  void belong_to(std::uint64_t team) { team_ = team; }

  /// Gives a notice to MPI.
  void send(const notice& it, int to, MPI_Comm comm) {
    letter& made = letters_.emplace_back(letter{it, MPI_REQUEST_NULL});
    made.content.team = team_;
    MPI_Isend(&made.content, static_cast<int>(sizeof(notice)), MPI_BYTE, to, tag_of_notices, comm,
              &made.request);
  }
  /// Waits until MPI has sent them all, or that takes too long.
  void finish(patience::clock::duration limit) {
    patience waiting{true, limit};
    for (;;) {
      letters_.remove_if([](letter& each) {
        int done = 0;
        return MPI_Test(&each.request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done != 0;
      });
      if (letters_.empty() || (waiting.pass() && waiting.expired())) return;
    }
  }
  /// Takes a notice, if one has come: whose, or -1.
  int receive(notice& into, MPI_Comm comm) const {
    for (;;) {
      int found = 0;
      MPI_Status status;
      if (MPI_Iprobe(MPI_ANY_SOURCE, tag_of_notices, comm, &found, &status) != MPI_SUCCESS ||
          found == 0 ||
          MPI_Recv(&into, static_cast<int>(sizeof into), MPI_BYTE, status.MPI_SOURCE,
                   tag_of_notices, comm, MPI_STATUS_IGNORE) != MPI_SUCCESS)
        return -1;
      if (into.team == team_ || team_ == 0) return status.MPI_SOURCE;
    }
  }

 private:
  struct letter {
    notice content;
    MPI_Request request;
  };
  std::list<letter> letters_;
  std::uint64_t team_ = 0;  ///< while it is not known, all notices are heard
};

}  // namespace allfold::mpi
