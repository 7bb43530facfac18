// Graphs: operations and copies that are kept and run as a whole.

#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {
namespace {

class DeviceGraph : public DeviceTest {
 protected:
  /// y += x, for n of them.
  void add(const DeviceArray<float>& y, const DeviceArray<float>& x, std::size_t n) {
    ResidualNormArgs args{};
    args.hidden = y.data();
    args.output = x.data();
    args.y = normed_->data();
    args.weight = x.data();
    args.rows = 1;
    args.dim = n;
    device().residual_norm(args);
  }
  void SetUp() override {
    DeviceTest::SetUp();
    if (!IsSkipped()) normed_ = std::make_unique<DeviceArray<float>>(device(), 4);
  }
  void TearDown() override {
    normed_.reset();
    DeviceTest::TearDown();
  }

 private:
  std::unique_ptr<DeviceArray<float>> normed_;  // nobody looks at it
};

TEST_F(DeviceGraph, WhatIsCapturedRunsWithEveryLaunchInItsOrderAndNotBefore) {
  constexpr std::size_t kBytes = 3 * sizeof(float);
  const DeviceArray<float> x(device(), std::vector<float>{1, 2, 3});
  const DeviceArray<float> y(device(), std::vector<float>{10, 20, 30});
  const DeviceArray<float> z(device(), 3);
  add(z, x, 3);  // a device may load the kernel now, and not in the capture
  ASSERT_EQ(device().wait(), 0);
  ASSERT_EQ(device().begin_capture(), 0);
  add(y, x, 3);
  ASSERT_EQ(device().copy(z.data(), y.data(), kBytes), 0);
  add(y, x, 2);
  void* graph = nullptr;
  ASSERT_EQ(device().end_capture(&graph), 0);
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(y.download(), (std::vector<float>{10, 20, 30}));

  ASSERT_EQ(device().launch_graph(graph), 0);
  EXPECT_EQ(y.download(), (std::vector<float>{12, 24, 33}));
  EXPECT_EQ(z.download(), (std::vector<float>{11, 22, 33}));
  const std::vector<float> other = {100, 200, 300};
  ASSERT_EQ(device().upload(x.data(), other.data(), kBytes), 0);
  ASSERT_EQ(device().launch_graph(graph), 0);
  EXPECT_EQ(y.download(), (std::vector<float>{212, 424, 333}));
  EXPECT_EQ(z.download(), (std::vector<float>{112, 224, 333}));
  device().release_graph(graph);
}

TEST_F(DeviceGraph, WhatNeedsTheHostMakesACaptureFailAndNothingElse) {
  const DeviceArray<float> x(device(), std::vector<float>{1, 2, 3});
  std::vector<float> host(3);
  void* at = nullptr;
  for (const int which : {0, 1, 2, 3}) {
    ASSERT_EQ(device().begin_capture(), 0);
    add(x, x, 3);
    if (which == 0) {
      EXPECT_NE(device().upload(x.data(), host.data(), sizeof(float)), 0);
    } else if (which == 1) {
      EXPECT_NE(device().download(host.data(), x.data(), sizeof(float)), 0);
    } else if (which == 2) {
      EXPECT_NE(device().wait(), 0);
    } else {
      EXPECT_NE(device().allocate(&at, 1), 0);
    }
    void* graph = &host;
    EXPECT_NE(device().end_capture(&graph), 0) << which;
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(device().wait(), 0);
  }
  EXPECT_EQ(x.download(), (std::vector<float>{1, 2, 3}));
  ASSERT_EQ(device().begin_capture(), 0);
  add(x, x, 3);
  void* graph = nullptr;
  ASSERT_EQ(device().end_capture(&graph), 0);
  ASSERT_EQ(device().launch_graph(graph), 0);
  EXPECT_EQ(x.download(), (std::vector<float>{2, 4, 6}));
  device().release_graph(graph);
}

}  // namespace
}  // namespace ponder::kernels
