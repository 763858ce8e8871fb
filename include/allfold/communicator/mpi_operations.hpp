// Folds that MPI has no operation for: users' elements, users' operations, 16-bit numbers.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <allfold/communicator/mpi_types.hpp>
#include <allfold/execution/fold.hpp>
#include <climits>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace allfold::mpi {

/// What a fold needs to know and leaves behind, besides its types.
struct folding {
  std::shared_ptr<const void> operation;
  std::exception_ptr thrown;  ///< by the operation, which MPI can't pass on
};

/// All foldings of this process. MPI tells an operation nothing but the elements' type, and may
/// call it from any thread that is in a call of MPI; so each folding has a type of its own to be
/// found by.
class foldings {
 public:
  static foldings& all() {
    static foldings of_process;
    return of_process;
  }
  void add(MPI_Datatype type, folding* it) {
    const std::lock_guard lock{mutex_};
    all_.emplace_back(type, it);
  }
  void remove(MPI_Datatype type) {
    const std::lock_guard lock{mutex_};
    std::erase_if(all_, [&](const auto& each) { return each.first == type; });
  }
  folding& of(MPI_Datatype type) {
    const std::lock_guard lock{mutex_};
    const auto has_type = [&](const auto& each) { return each.first == type; };
    return *std::find_if(all_.begin(), all_.end(), has_type)->second;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<MPI_Datatype, folding*>> all_;
};

/// Folds elements at any address: MPI's own buffers need not suit types with a wide alignment.
template <class T, class Operation>
void fold_pairs(const std::byte* left, std::byte* both, std::size_t count,
                const Operation& operation) {
  const auto address = reinterpret_cast<std::uintptr_t>(left) |  //
                       reinterpret_cast<std::uintptr_t>(both);
  if (address % alignof(T) == 0) {
    T* const result = reinterpret_cast<T*>(both);
    const T* const sources[]{reinterpret_cast<const T*>(left), result};
    allfold::fold(sources, 2, &result, 1, count, operation, 0);
    return;
  }
  alignas(T) std::byte pair[2][sizeof(T)];
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(pair[0], left + i * sizeof(T), sizeof(T));
    std::memcpy(pair[1], both + i * sizeof(T), sizeof(T));
    fold_pairs<T>(pair[0], pair[1], 1, operation);
    std::memcpy(both + i * sizeof(T), pair[1], sizeof(T));
  }
}

/// What MPI calls: `both` becomes the fold of `left`, which is of lower ranks, and `both`.
template <class T, class Operation>
void fold_for_mpi(void* left, void* both, int* count, MPI_Datatype* type) noexcept {
  folding& its = foldings::all().of(*type);
  if (its.thrown) return;
  try {
    fold_pairs<T>(static_cast<const std::byte*>(left), static_cast<std::byte*>(both),
                  static_cast<std::size_t>(*count),
                  *static_cast<const Operation*>(its.operation.get()));
  } catch (...) {
    its.thrown = std::current_exception();
  }
}

/// An operation on a type as MPI knows them, for one communicator.
class own_operation {
 public:
  own_operation(MPI_User_function* called, std::size_t element_bytes, bool commutes)
      : function_{called} {
    check(MPI_Type_contiguous(static_cast<int>(element_bytes), MPI_BYTE, &type_),
          "MPI_Type_contiguous");
    check(MPI_Type_commit(&type_), "MPI_Type_commit");
    check(MPI_Op_create(called, commutes ? 1 : 0, &handle_), "MPI_Op_create");
    foldings::all().add(type_, &folding_);
  }
  own_operation(const own_operation&) = delete;
  own_operation& operator=(const own_operation&) = delete;
  /// MPI must still be there, and no fold be under way.
  ~own_operation() {
    foldings::all().remove(type_);
    MPI_Op_free(&handle_);
    MPI_Type_free(&type_);
  }

  MPI_User_function* function() const { return function_; }
  MPI_Datatype type() const { return type_; }
  MPI_Op handle() const { return handle_; }

  /// Takes a copy of the operation, for this fold and as long as MPI may call it.
  template <class Operation>
  void begin(const Operation& operation) {
    if (!std::is_empty_v<Operation> || !folding_.operation)
      folding_.operation = std::make_shared<const Operation>(operation);
  }
  /// What the operation has thrown since it was asked last; null if nothing.
  std::exception_ptr thrown() { return std::exchange(folding_.thrown, nullptr); }

 private:
  MPI_User_function* function_;
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
  MPI_Op handle_ = MPI_OP_NULL;
  folding folding_;
};

/// The operations that a communicator has met so far.
class own_operations {
 public:
  template <class T, class Operation>
  own_operation& of() {
    MPI_User_function* const function = &fold_for_mpi<T, Operation>;
    for (const auto& each : all_)
      if (each->function() == function) return *each;
    static_assert(sizeof(T) <= INT_MAX);
    return *all_.emplace_back(
        std::make_unique<own_operation>(function, sizeof(T), commutes<T, Operation>));
  }
  /// Leaves them to MPI, which may still use them.
  void abandon() {
    for (auto& each : all_) static_cast<void>(each.release());
    all_.clear();
  }

 private:
  std::vector<std::unique_ptr<own_operation>> all_;
};

}  // namespace allfold::mpi
