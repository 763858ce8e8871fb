// Begins and ends MPI, for programs that do not do so themselves.
#pragma once

#include <mpi.h>

#include <allfold/communicator/mpi_connection.hpp>
#include <cstdio>
#include <exception>

namespace allfold::mpi {

/// Begins MPI, and ends it when it is destroyed. Made once, at the beginning of main, before any
/// mpi::communicator; what is thrown is best caught while it lives.
///
/// After a failure MPI_Finalize might wait forever for a rank that does not come. So, if one has
/// been waited for in vain, MPI_Abort ends the job. And if an exception destroys it, MPI is left as
/// it is: the launcher ends the job when this process ends with a status other than 0.
class environment {
 public:
  /// `required`: which threads call MPI; from MPI_THREAD_MULTIPLE on gradients may be reduced by a
  /// thread of their own. Throws a usage_error if MPI has been begun, or can't do that.
  environment(int& count, char**& values, int required = MPI_THREAD_FUNNELED) {
    int begun = 0;
    MPI_Initialized(&begun);
    if (begun != 0) throw usage_error{"allfold: mpi::environment: MPI has been begun already"};
    int provided = 0;
    check(MPI_Init_thread(&count, &values, required, &provided), "MPI_Init_thread");
    if (provided >= required) return;
    MPI_Finalize();
    throw usage_error{"allfold: mpi::environment: this MPI gives thread level " +
                      std::to_string(provided) + ", not " + std::to_string(required)};
  }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  ~environment() {
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0 || std::uncaught_exceptions() > 0) return;
    if (!somebody_is_missing()) {
      MPI_Finalize();
      return;
    }
    std::fflush(nullptr);  // what was said of it
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
};

}  // namespace allfold::mpi
