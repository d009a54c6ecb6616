// Construction, slicing and conversion of tensors.
#include "tensor/tensor.h"

#include <algorithm>
#include <utility>

#include "tensor/weight_blocks.h"

namespace slim {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// Rows of a block type are whole blocks: only then have rows, and all together, a place and a size.
bool has_whole_blocks(DType type, const std::vector<int64_t>& shape) {
  return (shape.empty() ? 1 : shape.back()) % block_of(type).elements == 0;
}

template <typename T>
void convert(const std::byte* from, float* to, int64_t count) {
  const T* values = reinterpret_cast<const T*>(from);
  for (int64_t i = 0; i < count; ++i) to[i] = to_float(values[i]);
}

template <typename T>
void convert_integers(const std::byte* from, float* to, int64_t count) {
  const T* values = reinterpret_cast<const T*>(from);
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(values[i]);
}

}  // namespace

void copy_matrix(Device& device, ConstMatrix from, Matrix to) {
  check(from.type == to.type && from.rows == to.rows && from.columns == to.columns,
        "a matrix is copied into one like it");
  const auto row_bytes = static_cast<size_t>(bytes_of(from.type, from.columns));
  if (from.stride == from.columns && to.stride == to.columns) {
    return device.copy(to.data, from.data, static_cast<size_t>(from.rows) * row_bytes);
  }
  for (int64_t row = 0; row < from.rows; ++row) {
    device.copy(to.row_bytes(row), from.row_bytes(row), row_bytes);
  }
}

Tensor Tensor::allocate(Device& device, DType type, std::vector<int64_t> shape) {
  check(has_whole_blocks(type, shape), "rows of a block type are whole blocks");
  Tensor tensor;
  tensor.type_ = type;
  tensor.shape_ = std::move(shape);
  tensor.writable_ = true;
  if (!device.host()) tensor.device_ = &device;
  // At least one byte, so that a tensor without elements still has an address.
  const auto buffer =
      device.allocate(static_cast<size_t>(std::max<int64_t>(1, bytes_of(type, tensor.elements()))));
  tensor.data_ = buffer->data();
  tensor.owner_ = buffer;
  return tensor;
}

Tensor Tensor::borrow(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                      DType type, std::vector<int64_t> shape) {
  check(has_whole_blocks(type, shape), "rows of a block type are whole blocks");
  Tensor tensor;
  tensor.type_ = type;
  tensor.shape_ = std::move(shape);
  check(static_cast<int64_t>(bytes.size()) == bytes_of(type, tensor.elements()),
        "borrowed bytes fit the shape");
  tensor.data_ = bytes.data();
  tensor.owner_ = std::move(owner);
  return tensor;
}

Tensor Tensor::from(std::span<const float> values, std::vector<int64_t> shape) {
  Tensor tensor = allocate(host_device(), DType::f32, std::move(shape));
  check(static_cast<int64_t>(values.size()) == tensor.elements(), "values fit the shape");
  std::copy(values.begin(), values.end(), tensor.writable<float>());
  return tensor;
}

int64_t Tensor::elements() const noexcept { return product(shape_); }

ConstMatrix Tensor::matrix() const {
  const int64_t columns = shape_.empty() ? 1 : shape_.back();
  const int64_t rows = columns == 0 ? 0 : elements() / columns;
  return {data_, type_, rows, columns, columns};
}

Matrix Tensor::writable_matrix() {
  check(writable_, "only an allocated tensor is written");
  const ConstMatrix view = matrix();
  return {const_cast<std::byte*>(view.data), view.type, view.rows, view.columns, view.stride};
}

Tensor Tensor::slice(int64_t begin, int64_t count) const {
  check(!shape_.empty() && begin >= 0 && count >= 0 && begin + count <= shape_[0],
        "a slice lies within its tensor");
  Tensor part = *this;
  part.shape_[0] = count;
  // Of one axis alone, a block type's slice begins and ends between blocks.
  check(has_whole_blocks(type_, part.shape_) &&
            (shape_.size() > 1 || has_whole_blocks(type_, {begin})),
        "rows of a block type are whole blocks");
  const int64_t row_elements = shape_[0] == 0 ? 0 : elements() / shape_[0];
  part.data_ = data_ + bytes_of(type_, begin * row_elements);
  return part;
}

Tensor Tensor::reshape(std::vector<int64_t> shape) const {
  check(product(shape) == elements(), "reshaping keeps the number of elements");
  check(has_whole_blocks(type_, shape), "rows of a block type are whole blocks");
  Tensor other = *this;
  other.shape_ = std::move(shape);
  return other;
}

Tensor Tensor::on(Device& device) const {
  Device* const target = device.host() ? nullptr : &device;
  if (empty() || device_ == target) return *this;
  const auto size = static_cast<size_t>(bytes());
  if (device_ == nullptr && !writable_) {
    Tensor copy = *this;
    const auto mirror = device.mirror(owner_, data_, size);
    copy.data_ = mirror.get();
    copy.owner_ = mirror;
    copy.device_ = target;
    return copy;
  }
  Tensor copy = allocate(device, type_, shape_);
  // Whichever of the two has memory of its own knows the way.
  (device_ != nullptr ? *device_ : device).copy(const_cast<std::byte*>(copy.data_), data_, size);
  return copy;
}

Tensor Tensor::frozen() const {
  Tensor other = *this;
  other.writable_ = false;
  return other;
}

Tensor Tensor::to_f32() const {
  if (type_ == DType::f32) return *this;
  Tensor result = allocate(host_device(), DType::f32, shape_);
  float* to = result.writable<float>();
  switch (type_) {
    case DType::i16:
      convert_integers<int16_t>(data_, to, elements());
      break;
    case DType::i32:
      convert_integers<int32_t>(data_, to, elements());
      break;
    case DType::q8_0:
    case DType::q4_0:
    case DType::q4_k:
    case DType::q5_k:
    case DType::q6_k:
      decode_blocks(type_, data_, elements(), to);
      break;
    default:
      visit(type_, [&](auto tag) { convert<typename decltype(tag)::type>(data_, to, elements()); });
  }
  return result;
}

}  // namespace slim
