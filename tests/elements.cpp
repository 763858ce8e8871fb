#include <allfold/elements.hpp>
#include <allfold/error.hpp>

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#if __has_include(<eigen3/Eigen/Core>)
#include <eigen3/Eigen/Core>
#endif

namespace {

/// What Eigen's matrices say of themselves.
struct matrix {
  float* first;
  long inner_size, outer_size, inner_stride, outer_stride;

  float* data() { return first; }
  long size() const { return inner_size * outer_size; }
  long innerSize() const { return inner_size; }
  long outerSize() const { return outer_size; }
  long innerStride() const { return inner_stride; }
  long outerStride() const { return outer_stride; }
};

template <class Range>
std::string refusal(Range&& range) {
  try {
    allfold::span_of(range);
  } catch (const allfold::usage_error& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a matrix is taken if its elements lie side by side") {
  std::array<float, 24> memory{};
  const auto accepts = [&](long inner, long outer, long inner_stride, long outer_stride) {
    return refusal(matrix{memory.data(), inner, outer, inner_stride, outer_stride}).empty();
  };
  CHECK(accepts(4, 6, 1, 4));
  CHECK(accepts(4, 1, 1, 7));  // one column of a larger matrix
  CHECK(accepts(1, 6, 9, 1));  // what is one does not step
  CHECK(accepts(1, 1, 5, 5));
  CHECK(accepts(0, 3, 2, 9));
  CHECK(accepts(3, 0, 2, 9));

  CHECK_FALSE(accepts(3, 6, 1, 4));  // rows 0 to 2 of 4
  CHECK_FALSE(accepts(1, 6, 1, 4));  // row 0, as columns of one element
  CHECK_FALSE(accepts(6, 1, 4, 24));
  CHECK_FALSE(accepts(2, 3, 2, 4));
  CHECK(refusal(matrix{memory.data(), 3, 6, 1, 4}) ==
        "the elements of a matrix of 3 x 6 (inner x outer size) do not lie side by side: its "
        "strides are 1 and 4");
}

#if __has_include(<eigen3/Eigen/Core>)
TEST_CASE("Eigen's matrices, and those of their parts that have no gaps") {
  using Eigen::MatrixXf, Eigen::VectorXf;
  MatrixXf all = MatrixXf::Random(4, 6);
  static_assert(allfold::contiguous<MatrixXf> && allfold::contiguous<VectorXf>);
  CHECK(allfold::span_of(all).data() == all.data());
  CHECK(allfold::span_of(all).size() == 24);
  CHECK(refusal(VectorXf{7}).empty());
  CHECK(refusal(all.col(2)).empty());
  CHECK(refusal(all.middleCols(1, 3)).empty());
  CHECK(refusal(all.reshaped()).empty());
  CHECK(refusal(Eigen::Map<MatrixXf>{all.data(), 3, 8}).empty());

  CHECK_FALSE(refusal(all.row(0)).empty());
  CHECK_FALSE(refusal(all.topRows(2)).empty());
  CHECK_FALSE(refusal(all.block(1, 1, 2, 2)).empty());
  using every_other = Eigen::Map<VectorXf, 0, Eigen::InnerStride<2>>;
  CHECK_FALSE(refusal(every_other{all.data(), 12}).empty());
}
#else
TEST_CASE("Eigen's matrices") { MESSAGE("skipped: there is no Eigen"); }
#endif
