#include "engine/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/numeric_formats.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StoredTensor;
using testing::TempDir;

void write_single(const TempDir& dir, const std::vector<StoredTensor>& tensors) {
  testing::write_file(dir.path() / "model.safetensors", testing::safetensors_bytes(tensors));
}

Checkpoint opened(const TempDir& dir) {
  auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_TRUE(checkpoint) << checkpoint.error().message;
  return std::move(*checkpoint);
}

std::string open_error(const TempDir& dir) {
  const auto checkpoint = Checkpoint::open(dir.path());
  return checkpoint ? "no error" : checkpoint.error().message;
}

TEST(Checkpoint, LoadsEveryStoredFormatAsFloat) {
  const TempDir dir;
  write_single(dir, {{"f32", "F32", {2}, bytes_of<float>({1.5F, -3.0F})},
                     {"bf16", "BF16", {2}, bytes_of<std::uint16_t>({0x3F80, 0xC000})},
                     {"f16", "F16", {1, 2}, bytes_of<std::uint16_t>({0x3C00, 0xC500})}});
  const Checkpoint checkpoint = opened(dir);
  EXPECT_THAT(*checkpoint.load_f32("f32", {2}), ElementsAre(1.5F, -3.0F));
  EXPECT_THAT(*checkpoint.load_f32("bf16", {2}), ElementsAre(1.0F, -2.0F));
  EXPECT_THAT(*checkpoint.load_f32("f16", {1, 2}), ElementsAre(1.0F, -5.0F));
  EXPECT_EQ(checkpoint.compute_dtype(), DType::bf16);
}

TEST(Checkpoint, Fp8IsMultipliedByItsBlockScalesAlsoInPartialBlocks) {
  const std::size_t rows = 130;
  const std::size_t cols = 260;
  std::vector<std::uint8_t> codes(rows * cols);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i % 0x7F);
  const std::vector<float> scales = {0.5F, 2.0F, 3.0F, 5.0F, 7.0F, 11.0F};  // [2, 3]
  const TempDir dir;
  write_single(dir, {{"q.weight", "F8_E4M3", {rows, cols}, bytes_of(codes)},
                     {"q.weight_scale_inv", "F32", {2, 3}, bytes_of(scales)}});
  const Checkpoint checkpoint = opened(dir);
  const auto values = checkpoint.load_f32("q.weight", {rows, cols});
  ASSERT_TRUE(values) << values.error().message;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      ASSERT_EQ((*values)[r * cols + c],
                e4m3_to_float(codes[r * cols + c]) * scales[r / 128 * 3 + c / 128])
          << r << "," << c;
    }
  }
  const std::vector<std::size_t> shape{rows, cols};
  const auto raw = checkpoint.raw_fp8("q.weight", shape);
  ASSERT_TRUE(raw) << raw.error().message;
  EXPECT_EQ(raw->scales, scales);
  EXPECT_EQ(raw->scale_cols, 3U);
  EXPECT_EQ(raw->codes[300], codes[300]);
  EXPECT_EQ(checkpoint.compute_dtype(), DType::f8_e4m3);
}

TEST(Checkpoint, AllF32ComputesInF32) {
  const TempDir dir;
  write_single(dir, {{"a", "F32", {1}, "1234"}, {"b", "I32", {1}, "1234"}});
  EXPECT_EQ(opened(dir).compute_dtype(), DType::f32);
}

TEST(Checkpoint, HandsOutRawDataInPlace) {
  const TempDir dir;
  write_single(dir, {{"w", "BF16", {2}, bytes_of<std::uint16_t>({0x3F80, 0xC000})},
                     {"f", "F32", {1}, bytes_of<float>({2.5F})}});
  Checkpoint checkpoint = opened(dir);
  const std::vector<std::size_t> two{2};
  const std::vector<std::size_t> one{1};
  const auto raw = checkpoint.raw_bf16("w", two);
  ASSERT_TRUE(raw) << raw.error().message;
  EXPECT_THAT(*raw, ElementsAre(0x3F80, 0xC000));
  EXPECT_THAT(*checkpoint.raw_f32("f", one), ElementsAre(2.5F));
  EXPECT_THAT(checkpoint.raw_bf16("f", one).error().message, HasSubstr("found F32 [1]"));
  EXPECT_THAT(checkpoint.raw_f32("w", two).error().message, HasSubstr("found BF16 [2]"));
  const Checkpoint moved = std::move(checkpoint);
  EXPECT_EQ(raw->data(), moved.raw_bf16("w", two)->data());
}

TEST(Checkpoint, RefusesToCastMisalignedData) {
  const TempDir dir;
  write_single(dir, {{"a", "U8", {1}, "x"}, {"w", "BF16", {1}, bytes_of<std::uint16_t>({0x3F80})}});
  const Checkpoint checkpoint = opened(dir);
  const std::vector<std::size_t> one{1};
  EXPECT_THAT(checkpoint.raw_bf16("w", one).error().message,
              HasSubstr("expected aligned BF16 data"));
  EXPECT_THAT(*checkpoint.load_f32("w", {1}), ElementsAre(1.0F));
}

TEST(Checkpoint, ErrorsNameTensorFileAndBothShapes) {
  const TempDir dir;
  write_single(dir, {{"w", "F32", {2, 1}, "12345678"},
                     {"i", "I32", {2}, "12345678"},
                     {"q.weight", "F8_E4M3", {1, 2}, "12"}});
  const Checkpoint checkpoint = opened(dir);
  const std::string file = (dir.path() / "model.safetensors").string();
  const std::string remedy = "; use config.json and weights of one and the same model";
  EXPECT_EQ(checkpoint.load_f32("w", {2}).error().message,
            "tensor w in " + file + ": expected shape [2], found F32 [2, 1]" + remedy);
  EXPECT_EQ(checkpoint.load_f32("gone", {2}).error().message,
            "tensor gone: missing from " + file + remedy);
  EXPECT_EQ(checkpoint.load_f32("i", {2}).error().message,
            "tensor i in " + file + ": expected dtype F32, BF16 or F16, found I32 [2]" + remedy);
  EXPECT_EQ(checkpoint.load_f32("q.weight", {1, 2}).error().message,
            "tensor q.weight_scale_inv: missing from " + file + remedy);
  EXPECT_EQ(checkpoint.find("gone"), nullptr);
  EXPECT_EQ(checkpoint.find("w")->num_bytes, 8U);
}

TEST(Checkpoint, WrongScalesAreNamed) {
  const TempDir dir;
  write_single(dir, {{"q.weight", "F8_E4M3", {1, 2}, "12"},
                     {"q.weight_scale_inv", "F32", {2, 1}, "12345678"},
                     {"r.weight", "F8_E4M3", {1, 2}, "12"},
                     {"r.weight_scale_inv", "BF16", {1, 1}, "12"}});
  const Checkpoint checkpoint = opened(dir);
  EXPECT_THAT(checkpoint.load_f32("q.weight", {1, 2}).error().message,
              HasSubstr("tensor q.weight_scale_inv in"));
  EXPECT_THAT(checkpoint.load_f32("r.weight", {1, 2}).error().message,
              HasSubstr("expected dtype F32, found BF16 [1, 1]"));
}

TEST(Checkpoint, FindsFusedExpertsUnderTheirOwnNames) {
  // [E=2, 2M=4, H=3] and [E=2, H=3, M=2], values counting up.
  std::vector<float> gate_up(24);
  std::vector<float> down(12);
  for (std::size_t i = 0; i < gate_up.size(); ++i) gate_up[i] = static_cast<float>(i);
  for (std::size_t i = 0; i < down.size(); ++i) down[i] = static_cast<float>(100 + i);
  const TempDir dir;
  write_single(dir, {{"mlp.experts.gate_up_proj", "F32", {2, 4, 3}, bytes_of(gate_up)},
                     {"mlp.experts.down_proj", "F32", {2, 3, 2}, bytes_of(down)}});
  const Checkpoint checkpoint = opened(dir);
  EXPECT_THAT(*checkpoint.load_f32("mlp.experts.0.gate_proj.weight", {2, 3}),
              ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(*checkpoint.load_f32("mlp.experts.0.up_proj.weight", {2, 3}),
              ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_THAT(*checkpoint.load_f32("mlp.experts.1.up_proj.weight", {2, 3}),
              ElementsAre(18, 19, 20, 21, 22, 23));
  EXPECT_THAT(*checkpoint.load_f32("mlp.experts.1.down_proj.weight", {3, 2}),
              ElementsAre(106, 107, 108, 109, 110, 111));
}

TEST(Checkpoint, RefusesFusedExpertsOfAnotherShape) {
  const TempDir dir;
  write_single(dir, {{"mlp.experts.gate_up_proj", "F32", {1, 3, 1}, "123456789abc"}});
  EXPECT_THAT(open_error(dir), HasSubstr("found F32 [1, 3, 1]"));
}

/// A file of holes takes no room on the disk, and its experts must take none in memory.
TEST(Checkpoint, RefusesMoreFusedExpertsThanAnyModelHas) {
  const TempDir dir;
  write_single(dir, {});
  const std::string header = R"({"mlp.experts.down_proj":{"dtype":"U8","shape":[100000000,1,1],)"
                             R"("data_offsets":[0,100000000]}})";
  const auto path = dir.path() / "model.safetensors";
  const std::string file = testing::safetensors_bytes(header, "");
  testing::write_file(path, file);
  std::filesystem::resize_file(path, file.size() + 100'000'000);
  EXPECT_THAT(open_error(dir), HasSubstr("expected no more than 2097152 experts"));
}

void write_shards(const TempDir& dir, const std::string& weight_map) {
  testing::write_file(dir.path() / "a.safetensors",
                      testing::safetensors_bytes({{"x", "F32", {1}, bytes_of<float>({1})}}));
  testing::write_file(dir.path() / "b.safetensors",
                      testing::safetensors_bytes({{"y", "F32", {1}, bytes_of<float>({2})},
                                                  {"x", "F32", {1}, bytes_of<float>({9})}}));
  testing::write_file(dir.path() / "model.safetensors.index.json",
                      "{\"metadata\":{},\"weight_map\":" + weight_map + "}");
}

TEST(Checkpoint, ShardsAreResolvedThroughTheWeightMap) {
  const TempDir dir;
  write_shards(dir, R"({"x":"a.safetensors","y":"b.safetensors"})");
  const Checkpoint checkpoint = opened(dir);
  EXPECT_THAT(*checkpoint.load_f32("x", {1}), ElementsAre(1.0F));
  EXPECT_THAT(*checkpoint.load_f32("y", {1}), ElementsAre(2.0F));
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("y")), dir.path() / "b.safetensors");
  EXPECT_EQ(checkpoint.tensors().size(), 2U);
}

TEST(Checkpoint, RefusesADamagedIndexNamingTheRemedy) {
  const TempDir dir;
  write_shards(dir, R"({"x":"a.safetensors","z":"b.safetensors"})");
  EXPECT_THAT(open_error(dir),
              HasSubstr("model.safetensors.index.json: tensor z: the index places it in "
                        "b.safetensors, which does not have it; download these files again"));
  write_shards(dir, R"({"x":"c.safetensors"})");
  EXPECT_THAT(open_error(dir), HasSubstr("c.safetensors: cannot open: No such file"));
  write_shards(dir, R"({"x":"../a.safetensors"})");
  EXPECT_THAT(open_error(dir), HasSubstr("which is no file beside the index"));
  write_shards(dir, R"({"x":7})");
  EXPECT_THAT(open_error(dir), HasSubstr("x lies in 7"));
  write_shards(dir, "{}");
  EXPECT_THAT(open_error(dir), HasSubstr("index.json: weight_map names no tensor"));
  const std::string long_name(5000, 'x');
  write_shards(dir, "{\"" + long_name + "\":\"a.safetensors\"}");
  EXPECT_THAT(open_error(dir), HasSubstr("a tensor's name has 5000 bytes: \"xxx"));
  write_shards(dir, "{\"x\":\"" + long_name + "\"}");
  EXPECT_LT(open_error(dir).size(), 500U);
  write_shards(dir, "[]");
  EXPECT_THAT(open_error(dir), HasSubstr("has no weight_map object"));
  write_shards(dir, "{");
  EXPECT_THAT(open_error(dir), HasSubstr("model.safetensors.index.json: damaged JSON"));
}

TEST(Checkpoint, SaysAllFaultsOfItsShardsAtOnce) {
  const TempDir dir;
  write_shards(dir, R"({"x":"a.safetensors","y":"a.safetensors","z":"b.safetensors",)"
                    R"("u":"gone.safetensors","v":"torn.safetensors"})");
  testing::write_file(dir.path() / "torn.safetensors", "torn");
  const std::string error = open_error(dir);
  EXPECT_THAT(error, HasSubstr("index.json: 4 faults: "));
  EXPECT_THAT(error, HasSubstr("gone.safetensors: cannot open: No such file"));
  EXPECT_THAT(error, HasSubstr("torn.safetensors: 4 bytes are too few for a header"));
  EXPECT_THAT(error, HasSubstr("tensor y: the index places it in a.safetensors, which does not "
                               "have it; it lies in b.safetensors"));
  EXPECT_THAT(error, HasSubstr("tensor z: the index places it in b.safetensors, which does not"));
}

TEST(Checkpoint, ShowsTheFirstFaultsOfManyAndCountsTheOthers) {
  const TempDir dir;
  std::string map = "{\"x\":\"a.safetensors\"";
  for (int i = 0; i < 100; ++i) map += ",\"t" + std::to_string(i) + "\":\"a.safetensors\"";
  write_shards(dir, map + "}");
  const std::string error = open_error(dir);
  EXPECT_THAT(error, HasSubstr("100 faults: "));
  EXPECT_THAT(error, HasSubstr("; and 84 more; "));
  EXPECT_LT(error.size(), 3000U);
}

TEST(Checkpoint, Int8RowsAreScaledByGroupOrByRow) {
  std::vector<std::int8_t> codes(2 * 128);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::int8_t>(i * 37);
  const TempDir dir;
  write_single(
      dir,
      {{"a.weight", "I8", {2, 128}, bytes_of(codes)},
       {"a.weight_scale",
        "BF16",
        {2, 4},
        bytes_of<std::uint16_t>({0x3F80, 0x4000, 0x4040, 0x4080, 0x3F00, 0x3E80, 0x3E00, 0x3D80})},
       {"b.weight", "I8", {2, 128}, bytes_of(codes)},
       {"b.weight_scale", "BF16", {2, 1}, bytes_of<std::uint16_t>({0x4000, 0x3F00})}});
  const Checkpoint checkpoint = opened(dir);
  const auto a = checkpoint.load_f32("a.weight", {2, 128});
  const auto b = checkpoint.load_f32("b.weight", {2, 128});
  ASSERT_TRUE(a) << a.error().message;
  ASSERT_TRUE(b) << b.error().message;
  const float a_scales[] = {1.0F, 2.0F, 3.0F, 4.0F, 0.5F, 0.25F, 0.125F, 0.0625F};
  for (std::size_t i = 0; i < codes.size(); ++i) {
    ASSERT_EQ((*a)[i], static_cast<float>(codes[i]) * a_scales[i / 32]) << i;
    ASSERT_EQ((*b)[i], static_cast<float>(codes[i]) * (i < 128 ? 2.0F : 0.5F)) << i;
  }
  EXPECT_EQ(checkpoint.compute_dtype(), DType::bf16);
}

TEST(Checkpoint, Int4CodesStandEightInAWordLowestFirst) {
  const std::vector<std::uint32_t> words(16, 0xFEDC9810U);
  const TempDir dir;
  write_single(dir, {{"w.weight_packed", "I32", {1, 16}, bytes_of(words)},
                     {"w.weight_scale", "BF16", {1, 1}, bytes_of<std::uint16_t>({0x4000})},
                     {"w.weight_shape", "I64", {2}, std::string(16, '\0')}});
  const auto values = opened(dir).load_f32("w.weight", {1, 128});
  ASSERT_TRUE(values) << values.error().message;
  EXPECT_THAT(std::vector<float>(values->begin(), values->begin() + 9),
              ElementsAre(-16, -14, 0, 2, 8, 10, 12, 14, -16));
}

TEST(Checkpoint, CodesWithoutFittingScalesAreNamed) {
  const TempDir dir;
  const std::string codes(128, 'x');
  write_single(dir, {{"a.weight", "I8", {1, 128}, codes},
                     {"b.weight", "I8", {1, 128}, codes},
                     {"b.weight_scale", "BF16", {1, 8}, std::string(16, '1')},
                     {"c.weight", "I8", {1, 128}, codes},
                     {"c.weight_scale", "F32", {1, 1}, "1234"},
                     {"d.weight", "I8", {2, 64}, codes},
                     {"e.weight_packed", "F32", {1, 16}, std::string(64, '1')}});
  const Checkpoint checkpoint = opened(dir);
  const auto error_of = [&](const char* name, std::size_t out, std::size_t in) {
    return checkpoint.stored_matrix(name, out, in).error().message;
  };
  EXPECT_THAT(error_of("a.weight", 1, 128), HasSubstr("tensor a.weight_scale: missing"));
  EXPECT_THAT(error_of("b.weight", 1, 128), HasSubstr("groups of 32, 64 or 128 of the 128 inputs"));
  EXPECT_THAT(error_of("c.weight", 1, 128), HasSubstr("expected BF16 [1, 1] or groups"));
  EXPECT_THAT(error_of("d.weight", 2, 64), HasSubstr("expected inputs in multiples of 128"));
  EXPECT_THAT(error_of("e.weight", 1, 128), HasSubstr("expected dtype I32, found F32"));
  EXPECT_THAT(error_of("f.weight", 1, 128), HasSubstr("tensor f.weight: missing"));
}

TEST(Checkpoint, OpensFilesThatEndWithTheirHeader) {
  const TempDir dir;
  const std::string whole = testing::safetensors_bytes({{"w", "F32", {2}, "12345678"}});
  testing::write_file(dir.path() / "model.safetensors", whole.substr(0, whole.size() - 8));
  EXPECT_THAT(open_error(dir), HasSubstr("0 data bytes, but the header describes 8"));
  const auto headers = Checkpoint::open_headers(dir.path());
  ASSERT_TRUE(headers) << headers.error().message;
  EXPECT_EQ(headers->find("w")->num_bytes, 8U);
  EXPECT_EQ(headers->find("w")->data, nullptr);
}

TEST(Checkpoint, SaysWhatADirectoryLacks) {
  const TempDir dir;
  EXPECT_THAT(open_error(dir), HasSubstr("holds neither model.safetensors nor"));
  EXPECT_EQ(Checkpoint::open("/nonexistent").error().message,
            "/nonexistent: no such model directory");
  testing::write_file(dir.path() / "model.safetensors", "short");
  EXPECT_EQ(open_error(dir), (dir.path() / "model.safetensors").string() +
                                 ": 5 bytes are too few for a header; download or export this "
                                 "file again");
}

}  // namespace
}  // namespace ponder::engine
