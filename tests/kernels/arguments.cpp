// The memory of each operation, as kernels.h says it.
#include "kernels/arguments.h"

#include <algorithm>
#include <limits>

namespace slim::test {

void ArgumentVisitor::matrix(ConstMatrix& matrix, Access access) {
  if (matrix.rows == 0 || matrix.columns == 0) return;
  auto* data = const_cast<std::byte*>(matrix.data);
  visit(data, bytes_of(matrix.type, (matrix.rows - 1) * matrix.stride + matrix.columns), access);
  matrix.data = data;
}

void ArgumentVisitor::matrix(Matrix& matrix, Access access) {
  ConstMatrix view = matrix;
  this->matrix(view, access);
  matrix.data = const_cast<std::byte*>(view.data);
}

// As one stretch from the first plane to the end of the last, so that they stay where they are to
// each other.
void ArgumentVisitor::page(std::byte*& page, std::span<const Plane* const> planes, Access access) {
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = 0;
  for (const Plane* plane : planes) {
    if (plane == nullptr) continue;
    begin = std::min(begin, plane->offset);
    end = std::max(end, plane->offset + plane->format.page_bytes());
  }
  std::byte* data = page + begin;
  visit(data, end - begin, access);
  page = data - begin;
}

void ArgumentVisitor::pages(Slice& slice, int64_t begin, std::span<const Plane* const> planes,
                            Access access) {
  const int64_t count = (slice.rows + kPageRows - 1) / kPageRows;
  if (begin >= slice.rows) return;
  tables_.emplace_back(slice.pages, slice.pages + count);
  for (int64_t i = begin / kPageRows; i < count; ++i) {
    page(tables_.back()[static_cast<size_t>(i)], planes, access);
  }
  slice.pages = tables_.back().data();
}

void ArgumentVisitor::shaping(const Shaping*& shaping) {
  if (shaping == nullptr) return;
  Shaping& own = shapings_.emplace_back(*shaping);
  vector(own.u, own.width * own.rank);
  vector(own.g, own.width * own.rank);
  vector(own.order, own.width);
  shaping = &own;
}

std::span<Slice> ArgumentVisitor::own(std::span<const Slice>& slices) {
  std::vector<Slice>& copy = slices_.emplace_back(slices.begin(), slices.end());
  slices = copy;
  return copy;
}

std::span<SealPages::Page> ArgumentVisitor::own(std::span<const SealPages::Page>& pages) {
  std::vector<SealPages::Page>& copy = sealed_.emplace_back(pages.begin(), pages.end());
  pages = copy;
  return copy;
}

namespace {

void visit_bias(DistanceBias& bias, int64_t heads, ArgumentVisitor& visitor) {
  visitor.vector(bias.values, heads * (2 * bias.reach + 1));
}

}  // namespace

void visit_arguments(Linear& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.matrix(arguments.weight);
  visitor.vector(arguments.scale, arguments.weight.rows);
  visitor.vector(arguments.bias, arguments.weight.rows);
  visitor.matrix(arguments.y);
}

void visit_arguments(GroupedLinear& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.matrix(arguments.weight);
  visitor.vector(arguments.scale, arguments.weight.rows);
  visitor.vector(arguments.bias, arguments.weight.rows);
  visitor.matrix(arguments.y);
}

void visit_arguments(Norm& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.vector(arguments.gain, arguments.x.columns);
  visitor.vector(arguments.offset, arguments.x.columns);
  visitor.matrix(arguments.y);
  visitor.vector(arguments.inverse, arguments.x.rows, Access::write);
}

void visit_arguments(Gate& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.gate);
  visitor.matrix(arguments.up);
  visitor.matrix(arguments.y);
}

void visit_arguments(Clamp& arguments, ArgumentVisitor& visitor) { visitor.matrix(arguments.x); }

void visit_arguments(Rotate& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.matrix(arguments.y);
}

void visit_arguments(Embed& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.table);
  visitor.vector(arguments.scale, arguments.table.rows);
  visitor.matrix(arguments.positions);
  visitor.matrix(arguments.y);
}

void visit_arguments(Convolve& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.matrix(arguments.weight);
  visitor.vector(arguments.bias, arguments.weight.rows);
  visitor.matrix(arguments.y);
}

void visit_arguments(AttendDense& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.q);
  visitor.matrix(arguments.k);
  visitor.matrix(arguments.v);
  visitor.matrix(arguments.out);
  visit_bias(arguments.bias, arguments.heads, visitor);
}

void visit_arguments(StoreRows& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  const Plane* planes[] = {&arguments.plane};
  for (Slice& slice : visitor.own(arguments.slices)) {
    visitor.pages(slice, slice.rows - slice.count, planes, Access::write);
  }
}

void visit_arguments(SealPages& arguments, ArgumentVisitor& visitor) {
  visitor.shaping(arguments.shaping);
  const Plane* from[] = {&arguments.from};
  const Plane* to[] = {&arguments.to};
  for (SealPages::Page& page : visitor.own(arguments.pages)) {
    auto* rows = const_cast<std::byte*>(page.from);
    visitor.page(rows, from, Access::read);
    page.from = rows;
    visitor.page(page.to, to, Access::write);
  }
}

void visit_arguments(LoadRows& arguments, ArgumentVisitor& visitor) {
  const Plane* planes[] = {&arguments.plane};
  Slice wanted = arguments.slice;
  wanted.rows = arguments.begin + arguments.y.rows;
  visitor.pages(wanted, arguments.begin, planes, Access::read);
  arguments.slice.pages = wanted.pages;
  visitor.matrix(arguments.y);
}

void visit_arguments(Attend& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.queries);
  visitor.matrix(arguments.mixed);
  visitor.matrix(arguments.lse);
  const Plane* planes[] = {&arguments.keys, &arguments.values, arguments.key_factors};
  for (Slice& slice : visitor.own(arguments.slices)) {
    visitor.pages(slice, 0, planes, Access::read);
  }
  const int64_t last_head = (arguments.heads - 1) / arguments.heads_per_key;
  const int64_t scored = last_head * arguments.key_stride + arguments.key_width;
  visitor.vector(arguments.key_gain, scored);
  visitor.vector(arguments.key_bias, scored);
  visitor.vector(arguments.slopes, arguments.heads);
  visit_bias(arguments.bias, arguments.heads, visitor);
}

void visit_arguments(LogSoftmax& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
  visitor.matrix(arguments.y);
}

void visit_arguments(Forbid& arguments, ArgumentVisitor& visitor) { visitor.matrix(arguments.x); }

void visit_arguments(FindCandidates& arguments, ArgumentVisitor& visitor) {
  visitor.matrix(arguments.x);
}

void visit_arguments(SumWords& arguments, ArgumentVisitor& visitor) {
  visitor.vector(arguments.words, arguments.count);
  visitor.vector(arguments.sum, 1, Access::write);
}

}  // namespace slim::test
