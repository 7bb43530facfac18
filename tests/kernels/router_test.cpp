#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops.h"
#include "tests/kernels/cases.h"

namespace ponder::kernels {
namespace {

struct Routing {
  std::vector<std::int32_t> indices;
  std::vector<float> weights;
};

Routing route(const KernelTable& table, RouterArgs args) {
  Routing routing{std::vector<std::int32_t>(args.rows * args.topk, -1),
                  std::vector<float>(args.rows * args.topk, kNan)};
  args.indices = routing.indices.data();
  args.weights = routing.weights.data();
  table.router(args, 0, args.rows);
  return routing;
}

RouterArgs args_for(const std::vector<float>& logits, std::size_t topk) {
  RouterArgs args{};
  args.logits = logits.data();
  args.logits_stride = logits.size();
  args.rows = 1;
  args.experts = logits.size();
  args.groups = 1;
  args.topk_group = 1;
  args.topk = topk;
  args.normalize = true;
  args.scaling_factor = 2.5f;
  return args;
}

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

class Router : public EveryIsa {};

TEST_P(Router, ChoosesByBiasedProbabilityAndWeighsByTheUnbiasedOne) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  const std::vector<float> bias = {0.0f, 0.0f, -1.0f, 0.9f};
  RouterArgs args = args_for(logits, 2);
  args.bias = bias.data();
  const Routing got = route(table(), args);
  EXPECT_EQ(got.indices, (std::vector<std::int32_t>{3, 1}));
  const double sum = sigmoid(-1) + sigmoid(1);
  EXPECT_NEAR(got.weights[0], 2.5 * sigmoid(-1) / sum, 1e-6);
  EXPECT_NEAR(got.weights[1], 2.5 * sigmoid(1) / sum, 1e-6);
}

TEST_P(Router, WithoutNormalisationTheWeightIsTheScaledProbability) {
  const std::vector<float> logits = {0.5f, 3.0f};
  RouterArgs args = args_for(logits, 1);
  args.normalize = false;
  const Routing got = route(table(), args);
  EXPECT_EQ(got.indices, std::vector<std::int32_t>{1});
  EXPECT_NEAR(got.weights[0], 2.5 * sigmoid(3.0), 1e-6);
}

TEST_P(Router, EqualExpertsAndGroupsGoToTheLowerIndex) {
  const std::vector<float> logits(8, 0.25f);
  RouterArgs args = args_for(logits, 3);
  EXPECT_EQ(route(table(), args).indices, (std::vector<std::int32_t>{0, 1, 2}));
  args.groups = 4;
  args.topk_group = 2;
  EXPECT_EQ(route(table(), args).indices, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST_P(Router, GroupsCompeteByTheirTwoBestExperts) {
  // The best single expert (2) sits in a group whose second best is weak.
  const std::vector<float> logits = {1.0f, 1.0f, 3.0f, -9.0f, 0.9f, 0.9f};
  RouterArgs args = args_for(logits, 2);
  args.groups = 3;
  args.topk_group = 1;
  EXPECT_EQ(route(table(), args).indices, (std::vector<std::int32_t>{0, 1}));
}

TEST_P(Router, ExcludedGroupsLoseAlsoAgainstNegativeChoices) {
  const std::vector<float> logits = {5.0f, 5.0f, -5.0f, -5.0f};
  const std::vector<float> bias = {-4.0f, -4.0f, -1.0f, -1.0f};
  RouterArgs args = args_for(logits, 2);
  args.bias = bias.data();
  args.groups = 2;
  args.topk_group = 1;
  EXPECT_EQ(route(table(), args).indices, (std::vector<std::int32_t>{2, 3}));
}

TEST_P(Router, NanLosesAndEveryRowIsRouted) {
  std::vector<float> logits = {kNan, 1.0f, 0.0f, 2.0f, kNan, kNan};
  RouterArgs args = args_for(logits, 2);
  args.rows = 2;
  args.experts = 3;
  args.logits_stride = 3;
  const Routing got = route(table(), args);
  EXPECT_EQ(got.indices, (std::vector<std::int32_t>{1, 2, 0, 1}));
}

TEST_P(Router, ThreadsGiveTheSameRouting) {
  const std::size_t rows = 300;
  const std::vector<float> logits = random_floats(rows * 64, rng);
  RouterArgs args = args_for(logits, 8);
  args.rows = rows;
  args.experts = 64;
  args.logits_stride = 64;
  args.groups = 8;
  args.topk_group = 4;
  const Routing want = route(table(), args);
  ThreadPool pool({.num_threads = 3});
  Routing got = want;
  std::fill(got.indices.begin(), got.indices.end(), -1);
  args.indices = got.indices.data();
  args.weights = got.weights.data();
  router({&table(), &pool}, args);
  EXPECT_EQ(got.indices, want.indices);
  EXPECT_EQ(got.weights, want.weights);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Router, ::testing::ValuesIn(runnable_tables()), isa_name);

}  // namespace
}  // namespace ponder::kernels
