// Buckets of distances, with n of them on a side, e = n / 2:
//   |d| < e: |d| itself;   else e + floor(log(|d| / e) / log(reach / e) * (n - e)), n - 1 at most
#include "models/distance_bias.h"

#include <algorithm>
#include <cmath>

namespace slim {

int64_t bucket_of(int64_t distance, int64_t buckets, int64_t reach, bool both) {
  const int64_t side = both ? buckets / 2 : buckets;
  const int64_t first = both && distance > 0 ? side : 0;
  const int64_t size = both ? std::abs(distance) : std::max<int64_t>(0, -distance);
  const int64_t exact = side / 2;
  if (size < exact) return first + size;
  const float ratio = static_cast<float>(size) / static_cast<float>(exact);
  const auto range =
      static_cast<float>(std::log(static_cast<double>(reach) / static_cast<double>(exact)));
  const float share = std::log(ratio) / range * static_cast<float>(side - exact);
  return first + std::min(exact + static_cast<int64_t>(share), side - 1);
}

Tensor distance_bias(const Tensor& table, int64_t reach, bool both) {
  const int64_t buckets = table.size(0);
  const int64_t heads = table.size(1);
  Tensor biases = Tensor::allocate(host_device(), DType::f32, {heads, 2 * reach + 1});
  float* to = biases.writable<float>();
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t distance = -reach; distance <= reach; ++distance, ++to) {
      *to = table.values<float>()[bucket_of(distance, buckets, reach, both) * heads + head];
    }
  }
  return biases;
}

}  // namespace slim
