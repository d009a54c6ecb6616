// Slices on the card. The tables of pages of a call, its slices and whatever lists its kernels walk
// along are gathered into one array and brought over in one copy: a copy costs the host some
// microseconds, whatever its size.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "kernels/kernels.h"

namespace slim {

struct DeviceSlice {
  int64_t first = 0;     // token of the step's matrices
  int64_t count = 0;     // tokens
  int64_t rows = 0;      // that it may read
  int64_t position = 0;  // of the first token
  int64_t base = 0;      // position of row 0
  int64_t pages = 0;     // where its pages begin in the table of addresses
  int32_t regime = 0;
};

// Arrays that travel together.
class Parcel {
 public:
  // Returns where the array will begin, in bytes.
  template <typename T>
  size_t add(std::span<const T> values) {
    const size_t at = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(at + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data() + at, values.data(), values.size_bytes());
    return at;
  }
  template <typename T>
  size_t add(const std::vector<T>& values) {
    return add(std::span<const T>(values));
  }

  // Sends all that was added.
  void send(CudaDevice& device) { data_ = device.upload(std::span<const std::byte>(bytes_)); }
  template <typename T>
  const T* at(size_t offset) const {
    return reinterpret_cast<const T*>(data_ + offset);
  }

 private:
  std::vector<std::byte> bytes_;
  const std::byte* data_ = nullptr;
};

// The slices of a call and the addresses of their pages, not yet sent.
struct SliceTables {
  std::vector<DeviceSlice> slices;
  std::vector<std::byte*> pages;
  bool aligned = true;  // all pages start at multiples of 16 bytes

  explicit SliceTables(std::span<const Slice> from) {
    slices.reserve(from.size());
    for (const Slice& slice : from) add(slice);
  }

  void add(const Slice& slice) {
    slices.push_back({.first = slice.first,
                      .count = slice.count,
                      .rows = slice.rows,
                      .position = slice.position,
                      .base = slice.base,
                      .pages = static_cast<int64_t>(pages.size()),
                      .regime = slice.regime});
    for (int64_t page = 0; page * kPageRows < slice.rows; ++page) {
      pages.push_back(slice.pages[page]);
      aligned = aligned && reinterpret_cast<uintptr_t>(slice.pages[page]) % 16 == 0;
    }
  }
};

}  // namespace slim
