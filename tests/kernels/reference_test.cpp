// The reference kernels against float64 results computed elsewhere: tools/make_golden_kernels.py.
//
// Inputs are exact in every type, so each case runs with every one of them. What is left is one
// rounding to f32 (2^-24) and the order of double sums; a result is allowed 2^-23 of itself, and
// 1e-12 where it is close to zero.
#include <algorithm>
#include <cstring>
#include <fstream>

#include "kernels/paged_rows.h"
#include "kernels/parity.h"
#include "nlohmann/json.hpp"

namespace slim {
namespace {

using Json = nlohmann::json;

class ReferenceKernelsGolden : public testing::Test {
 protected:
  static Json cases(const char* operation) {
    std::ifstream file(SLIM_TEST_DATA "/golden/kernels.json");
    const Json list = Json::parse(file).at(operation);
    EXPECT_FALSE(list.empty());
    return list;
  }

  // A list of rows, or one row.
  static TestMatrix matrix(const Json& values, DType type = DType::f32) {
    const Json rows = values.at(0).is_array() ? values : Json::array({values});
    TestMatrix result(type, static_cast<int64_t>(rows.size()),
                      static_cast<int64_t>(rows.at(0).size()), 3);
    size_t place = 0;
    return result.map([&](float) {
      const size_t width = rows.at(0).size();
      const float value = rows.at(place / width).at(place % width).get<float>();
      ++place;
      return value;
    });
  }

  static Activation activation(const Json& name) {
    constexpr std::string_view kNames[] = {"none", "relu", "gelu", "gelu_tanh", "silu"};
    for (const Activation activation : kActivations) {
      if (kNames[static_cast<size_t>(activation)] == name) return activation;
    }
    ADD_FAILURE() << "unknown activation " << name;
    return Activation::none;
  }

  static TestMatrix result_for(const Json& item) {
    return matrix(item.at("y")).map([](float) { return 77.0F; });
  }

  static void expect_golden(const TestMatrix& actual, const Json& item) {
    const TestMatrix expected = matrix(item.at("y"));
    EXPECT_TRUE(agrees(actual, expected, expected.map([](float value) {
      return 0x1p-23F * std::fabs(value) + 1e-12F;
    })));
  }

  std::unique_ptr<Kernels> kernels_ = make_kernels("reference", 1);
};

TEST_F(ReferenceKernelsGolden, Linear) {
  for (const Json& item : cases("linear")) {
    for (const DType type : kWeightTypes) {
      TestMatrix y = matrix(item.at("before"));
      const TestMatrix x = matrix(item.at("x"));
      const TestMatrix weight = matrix(item.at("weight"), type);
      const TestMatrix bias = matrix(item.at("bias"));
      kernels_->linear({.x = x.view(),
                        .weight = weight.view(),
                        .bias = bias.floats(),
                        .y = y.view(),
                        .activation = activation(item.at("activation")),
                        .accumulate = item.at("accumulate").get<bool>()});
      expect_golden(y, item);
    }
  }
}

TEST_F(ReferenceKernelsGolden, GroupedLinear) {
  for (const Json& item : cases("grouped_linear")) {
    for (const DType type : kWeightTypes) {
      TestMatrix y = result_for(item);
      const TestMatrix x = matrix(item.at("x"));
      const TestMatrix weight = matrix(item.at("weight"), type);
      const TestMatrix bias = matrix(item.at("bias"));
      kernels_->grouped_linear({.x = x.view(),
                                .weight = weight.view(),
                                .bias = bias.floats(),
                                .y = y.view(),
                                .groups = item.at("groups").get<int64_t>()});
      expect_golden(y, item);
    }
  }
}

TEST_F(ReferenceKernelsGolden, Norm) {
  for (const Json& item : cases("layer_norm")) {
    TestMatrix y = matrix(item.at("x"));
    const TestMatrix gain = matrix(item.at("gain"));
    const TestMatrix offset = matrix(item.at("offset"));
    kernels_->norm({.x = y.view(),
                    .gain = gain.floats(),
                    .offset = offset.floats(),
                    .epsilon = item.at("epsilon").get<float>(),
                    .y = y.view()});
    expect_golden(y, item);
  }
}

TEST_F(ReferenceKernelsGolden, Embed) {
  for (const Json& item : cases("embed")) {
    for (const DType type : kWeightTypes) {
      TestMatrix y = result_for(item);
      const auto ids = item.at("ids").get<std::vector<int32_t>>();
      const auto places = item.at("places").get<std::vector<int32_t>>();
      const TestMatrix table = matrix(item.at("table"), type);
      const TestMatrix positions = matrix(item.at("positions"), type);
      kernels_->embed({.ids = ids,
                       .table = table.view(),
                       .places = places,
                       .positions = positions.view(),
                       .y = y.view()});
      expect_golden(y, item);
    }
  }
}

TEST_F(ReferenceKernelsGolden, Convolve) {
  for (const Json& item : cases("convolve")) {
    for (const DType type : kWeightTypes) {
      TestMatrix y = result_for(item);
      const TestMatrix x = matrix(item.at("x"));
      const TestMatrix weight = matrix(item.at("weight"), type);
      const TestMatrix bias = matrix(item.at("bias"));
      kernels_->convolve({x.view(), weight.view(), bias.floats(), y.view(),
                          item.at("batch").get<int64_t>(), item.at("stride").get<int64_t>(),
                          activation(item.at("activation"))});
      expect_golden(y, item);
    }
  }
}

TEST_F(ReferenceKernelsGolden, AttendDense) {
  for (const Json& item : cases("attend_dense")) {
    TestMatrix out = result_for(item);
    const TestMatrix q = matrix(item.at("q"));
    const TestMatrix k = matrix(item.at("k"));
    const TestMatrix v = matrix(item.at("v"));
    kernels_->attend_dense({q.view(), k.view(), v.view(), out.view(),
                            item.at("heads").get<int64_t>(), item.at("batch").get<int64_t>(),
                            item.at("scale").get<float>()});
    expect_golden(out, item);
  }
}

// Pages of one case: keys in plane 0, values in plane 1 where there are any.
PagedRows pages_of(const Json& sequence, DType type) {
  std::vector<RowFormat> formats;
  const Json* sides[] = {&sequence.at("keys"), &sequence.at("values")};
  for (const Json* side : sides) {
    if (!side->empty()) formats.push_back({type, static_cast<int64_t>(side->at(0).size())});
  }
  PagedRows pages(formats, static_cast<int64_t>(sides[0]->size()));
  for (size_t plane = 0; plane < formats.size(); ++plane) {
    for (size_t row = 0; row < sides[plane]->size(); ++row) {
      const auto values = sides[plane]->at(row).get<std::vector<float>>();
      pages.set_row(plane, static_cast<int64_t>(row), values.data());
    }
  }
  return pages;
}

TEST_F(ReferenceKernelsGolden, Attend) {
  for (const Json& item : cases("attend")) {
    for (const DType type : kWeightTypes) {
      std::vector<PagedRows> sequences;
      std::vector<Slice> slices;
      int64_t first = 0;
      for (const Json& sequence : item.at("sequences")) {
        sequences.push_back(pages_of(sequence, type));
        slices.push_back(sequences.back().slice(first, sequence.at("count").get<int64_t>()));
        first += slices.back().count;
      }
      const bool shared = item.at("form") != "kv";
      const auto number = [&](const char* name) { return item.at(name).get<int64_t>(); };
      TestMatrix mixed = result_for(item);
      const TestMatrix queries = matrix(item.at("queries"));
      const Plane& keys = sequences[0].plane(0);
      const Attend arguments{queries.view(),
                             mixed.view(),
                             slices,
                             keys,
                             shared ? keys : sequences[0].plane(1),
                             number("heads"),
                             number("key_width"),
                             number("key_stride"),
                             number("value_width"),
                             number("value_stride"),
                             number("heads_per_key"),
                             item.at("scale").get<float>(),
                             item.at("causal").get<bool>()};
      kernels_->attend_pair(arguments);
      expect_golden(mixed, item);
      if (!shared) continue;
      std::fill_n(arguments.mixed.data, sizeof(float), std::byte{0});  // to be written again
      kernels_->attend_shared(arguments);
      expect_golden(mixed, item);
    }
  }
}

TEST_F(ReferenceKernelsGolden, LogSoftmax) {
  for (const Json& item : cases("log_softmax")) {
    TestMatrix y = matrix(item.at("x"));
    kernels_->log_softmax({y.view(), y.view()});
    expect_golden(y, item);
  }
}

// The clauses of kernels.h that the numbers above do not touch.
TEST(ReferenceKernels, AQueryThatSeesNoRowGetsZeros) {
  const auto kernels = make_kernels("reference", 1);
  const RowFormat formats[] = {{DType::f32, 4}};
  const PagedRows none(formats, 0);
  const TestMatrix query = TestMatrix::random(1, DType::f32, 3, 4);
  for (const bool causal : {false, true}) {
    TestMatrix mixed = TestMatrix::random(2, DType::f32, 3, 4);
    const TestMatrix before = mixed;
    const Slice slices[] = {none.slice(1, 1)};
    kernels->attend_pair({.queries = query.view(),
                          .mixed = mixed.view(),
                          .slices = slices,
                          .keys = none.plane(0),
                          .values = none.plane(0),
                          .key_width = 4,
                          .value_width = 4,
                          .causal = causal});
    for (int64_t c = 0; c < 4; ++c) {
      EXPECT_EQ(mixed.at(0, c), before.at(0, c));
      EXPECT_EQ(mixed.at(1, c), 0.0F);
      EXPECT_EQ(mixed.at(2, c), before.at(2, c));
    }
  }
}

TEST(ReferenceKernels, StoredRowsAreThoseOfEncodeRow) {
  const auto kernels = make_kernels("reference", 1);
  const auto x = TestMatrix::random(1, DType::f32, 3, 64, 2);
  for (const DType type : kRowTypes) {
    const RowFormat formats[] = {{type, 64}};
    PagedRows actual(formats, 65), expected(formats, 65);
    expected.set_row(0, 63, x.view().row<float>(1));
    expected.set_row(0, 64, x.view().row<float>(2));
    const Slice slices[] = {actual.slice(1, 2)};
    kernels->store_rows({x.view(), actual.plane(0), slices});
    for (const size_t page : {0U, 1U}) {
      EXPECT_EQ(std::memcmp(actual.pages()[page], expected.pages()[page],
                            static_cast<size_t>(actual.page_bytes())),
                0);
    }
  }
}

}  // namespace
}  // namespace slim
