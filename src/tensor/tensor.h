// Tensor: a typed, shaped, reference-counted array. Either an owned Buffer or bytes borrowed from a
// mapped file, which it keeps alive. Rows-major, contiguous; the last axis of a block type is whole
// blocks. Views into it are Matrix. Its bytes may lie in a device's own memory: then addresses, and
// views, are for that device's kernels and copies alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace slim {

// A non-owning matrix: `rows` rows of `columns` elements, row starts `stride` elements apart. Of a
// block type, columns and stride are whole blocks.
template <typename Bytes>
struct BasicMatrix {
  Bytes* data = nullptr;
  DType type = DType::f32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;

  template <typename T>
  auto* row(int64_t index) const {
    using Element = std::conditional_t<std::is_const_v<Bytes>, const T, T>;
    return reinterpret_cast<Element*>(data) + index * stride;
  }
  // Where a row of a block type begins.
  Bytes* row_bytes(int64_t index) const { return data + index * bytes_of(type, stride); }
  // Columns [begin, begin + count) of every row.
  BasicMatrix columns_from(int64_t begin, int64_t count) const {
    return {data + bytes_of(type, begin), type, rows, count, stride};
  }
  BasicMatrix rows_from(int64_t begin, int64_t count) const {
    return {data + begin * bytes_of(type, stride), type, count, columns, stride};
  }
  operator BasicMatrix<const std::byte>() const  // NOLINT(google-explicit-constructor)
      requires(!std::is_const_v<Bytes>) {
    return {data, type, rows, columns, stride};
  }
};
using Matrix = BasicMatrix<std::byte>;
using ConstMatrix = BasicMatrix<const std::byte>;

// Copies a matrix into another of its type and size, as Device::copy does: each is the device's or
// the host's.
void copy_matrix(Device& device, ConstMatrix from, Matrix to);

class Tensor {
 public:
  Tensor() = default;

  // Uninitialised, on `device`. Throws Error{out_of_memory}.
  static Tensor allocate(Device& device, DType type, std::vector<int64_t> shape);
  // Borrows read-only bytes; `owner` keeps them alive. `bytes` must be exactly the tensor's size.
  static Tensor borrow(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                       DType type, std::vector<int64_t> shape);
  // Copies f32 values to host memory.
  static Tensor from(std::span<const float> values, std::vector<int64_t> shape);

  bool empty() const noexcept { return data_ == nullptr; }
  DType type() const noexcept { return type_; }
  const std::vector<int64_t>& shape() const noexcept { return shape_; }
  int64_t size(size_t axis) const { return shape_.at(axis); }
  int64_t elements() const noexcept;
  int64_t bytes() const noexcept { return empty() ? 0 : bytes_of(type_, elements()); }
  const std::byte* data() const noexcept { return data_; }

  // Typed access; T must match type(). Writing needs an allocated tensor.
  template <typename T>
  const T* values() const {
    check(sizeof(T) == static_cast<size_t>(size_of(type_)), "a tensor is read with its own type");
    return reinterpret_cast<const T*>(data_);
  }
  template <typename T>
  T* writable() {
    check(writable_, "only an allocated tensor is written");
    check(sizeof(T) == static_cast<size_t>(size_of(type_)),
          "a tensor is written with its own type");
    return reinterpret_cast<T*>(const_cast<std::byte*>(data_));
  }

  // As a matrix: the last axis is the columns, all others together the rows.
  ConstMatrix matrix() const;
  Matrix writable_matrix();
  // Rows [begin, begin + count) along axis 0, sharing the bytes.
  Tensor slice(int64_t begin, int64_t count) const;
  // The same bytes under another shape of as many elements.
  Tensor reshape(std::vector<int64_t> shape) const;
  // The same values as they may be given to a device's kernels: the tensor itself where its bytes
  // lie there; else a copy, which is shared (Device::mirror) if the tensor is not writable.
  // on(host_device()) brings a tensor back.
  Tensor on(Device& device) const;
  // The same bytes, never to be written again.
  Tensor frozen() const;
  // A host copy with every value converted to f32 (i8, i16 and i32 by plain value, block types by
  // their scales).
  Tensor to_f32() const;

 private:
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  Device* device_ = nullptr;  // whose own memory it lies in; null: the host's
  DType type_ = DType::f32;
  bool writable_ = false;
  std::vector<int64_t> shape_;
};

}  // namespace slim
