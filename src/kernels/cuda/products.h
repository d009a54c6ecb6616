// Products: the handle and the workspace of the library of matrix products, for one card.
#pragma once

#include "kernels/cuda/cuda_device.h"

namespace slim {

class Products {
 public:
  explicit Products(CudaDevice& device);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

 private:
  CudaDevice& device_;
};

}  // namespace slim
