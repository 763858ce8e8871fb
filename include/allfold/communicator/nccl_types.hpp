// NCCL's names for element types, operations and errors.
#pragma once

#include <nccl.h>

#include <allfold/error.hpp>
#include <allfold/reduction.hpp>
#include <bit>

#if NCCL_VERSION_CODE < NCCL_VERSION(2, 18, 0)
#error "allfold needs NCCL 2.18 or newer"
#endif

namespace allfold::nccl {

/// NCCL refused a call, or failed in it.
class nccl_error : public error {
 public:
  nccl_error(ncclResult_t code, const std::string& text) : error{text}, code_{code} {}
  ncclResult_t code() const { return code_; }

 private:
  ncclResult_t code_;
};

/// Throws an nccl_error unless `code` is success or says that NCCL is at work.
inline void check(ncclResult_t code, const char* what) {
  if (code != ncclSuccess && code != ncclInProgress)
    throw nccl_error{code,
                     std::string{"allfold: "} + what + " failed: " + ncclGetErrorString(code)};
}

/// NCCL's name of an element type that it can fold.
template <class T>
ncclDataType_t folded_type() {
  constexpr bool is_whole = std::is_integral_v<T> && !std::is_same_v<T, bool>;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || half_precision<T> ||
                    (is_whole && sizeof(T) != 2),
                "allfold: NCCL can't fold elements of this type; cuda::communicator can");
  if constexpr (std::is_same_v<T, float>) return ncclFloat32;
  if constexpr (std::is_same_v<T, double>) return ncclFloat64;
  if constexpr (half_precision<T>)  // whatever its name: the bits of 1 tell the formats apart
    return std::bit_cast<std::uint16_t>(static_cast<T>(1.0f)) == 0x3f80 ? ncclBfloat16
                                                                        : ncclFloat16;
  if constexpr (is_whole) {
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? ncclInt8 : ncclUint8;
    if constexpr (sizeof(T) == 4) return is_signed ? ncclInt32 : ncclUint32;
    if constexpr (sizeof(T) == 8) return is_signed ? ncclInt64 : ncclUint64;
  }
}

/// NCCL's name of an operation.
template <class Operation>
constexpr ncclRedOp_t operation_of() {
  static_assert(std::is_same_v<Operation, sum> || std::is_same_v<Operation, product> ||
                    std::is_same_v<Operation, minimum> || std::is_same_v<Operation, maximum> ||
                    std::is_same_v<Operation, average>,
                "allfold: NCCL knows no operations of users; cuda::communicator does");
  if constexpr (std::is_same_v<Operation, sum>) return ncclSum;
  if constexpr (std::is_same_v<Operation, product>) return ncclProd;
  if constexpr (std::is_same_v<Operation, minimum>) return ncclMin;
  if constexpr (std::is_same_v<Operation, maximum>) return ncclMax;
  if constexpr (std::is_same_v<Operation, average>) return ncclAvg;
}

}  // namespace allfold::nccl
