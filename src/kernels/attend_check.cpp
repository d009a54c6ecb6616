// The sentences of attention's contract.
#include "kernels/attend_check.h"

#include "base/check.h"

namespace slim {

void check_slice(const Slice& slice, int64_t tokens) {
  check(slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= tokens,
        "a slice's tokens lie within the step");
  check(slice.rows >= 0, "a slice's rows are not negative");
}

void check_attend(const Attend& attend) {
  const Attend& a = attend;
  check(a.heads > 0 && a.heads_per_key > 0 && a.heads % a.heads_per_key == 0,
        "every key head serves as many heads");
  check(a.queries.columns == a.heads * a.key_width, "queries hold one key's width a head");
  check(a.mixed.rows == a.queries.rows && a.mixed.columns == a.heads * a.value_width,
        "mixed rows hold one value's width a head");
  const int64_t last = a.heads / a.heads_per_key - 1;
  check(last * a.key_stride + a.key_width <= a.keys.format.width, "a key row holds every head");
  check(last * a.value_stride + a.value_width <= a.values.format.width,
        "a value row holds every head");
  check(a.lse.rows == 0 || (a.lse.rows == a.queries.rows && a.lse.columns == a.heads),
        "there is an lse for every query and head");
  check(!a.merge || a.lse.rows > 0, "results are merged by their lse");
  for (const Slice& slice : a.slices) check_slice(slice, a.queries.rows);
}

}  // namespace slim
