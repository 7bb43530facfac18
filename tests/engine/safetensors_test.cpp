#include "engine/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using ::testing::HasSubstr;
using testing::safetensors_bytes;

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string error_of(const std::string& file) {
  const auto tensors = parse_safetensors(as_bytes(file));
  return tensors ? "no error" : tensors.error().message;
}

TEST(Safetensors, ListsTensorsInTheOrderOfTheirData) {
  const std::string file = safetensors_bytes(
      {{"z", "F32", {2}, testing::bytes_of<float>({1.5F, -2.0F})}, {"a", "U8", {3, 1}, "xyz"}});
  const auto tensors = parse_safetensors(as_bytes(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2U);
  const TensorView& z = (*tensors)[0];
  EXPECT_EQ(z.name, "z");
  EXPECT_EQ(z.dtype, DType::f32);
  EXPECT_EQ(z.shape, (std::vector<std::size_t>{2}));
  float second = 0;
  std::memcpy(&second, z.data + 4, 4);
  EXPECT_EQ(second, -2.0F);
  const TensorView& a = (*tensors)[1];
  EXPECT_EQ(std::memcmp(a.data, "xyz", 3), 0);
  EXPECT_EQ(a.num_elements(), 3U);
}

TEST(Safetensors, AcceptsMetadataScalarsAndEmptyTensors) {
  const std::string file = safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}})",
      "1234");
  const auto tensors = parse_safetensors(as_bytes(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 2U);
}

TEST(Safetensors, EveryDTypeKnowsItsNameAndSize) {
  EXPECT_STREQ(dtype_name(DType::f8_e4m3), "F8_E4M3");
  EXPECT_STREQ(dtype_name(DType::bf16), "BF16");
  EXPECT_EQ(dtype_bytes(DType::f8_e4m3), 1U);
  EXPECT_EQ(dtype_bytes(DType::bf16), 2U);
  EXPECT_EQ(dtype_bytes(DType::f32), 4U);
  EXPECT_EQ(dtype_bytes(DType::i64), 8U);
}

std::string one_tensor(const std::string& entry, const std::string& data = "12345678") {
  return safetensors_bytes("{\"w\":" + entry + "}", data);
}

TEST(Safetensors, RefusesATruncatedOrForeignHeader) {
  EXPECT_THAT(error_of(""), HasSubstr("0 bytes are too few for a header"));
  EXPECT_THAT(error_of("1234567"), HasSubstr("7 bytes are too few"));
  std::string file = one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})");
  EXPECT_EQ(error_of(file), "no error");
  EXPECT_THAT(error_of(file.substr(0, 20)), HasSubstr("bytes announced, 12 bytes follow"));
  file[7] = '\x80';  // a length of 2^63 and more
  EXPECT_THAT(error_of(file), HasSubstr("truncated, or no safetensors file"));
  EXPECT_THAT(error_of(safetensors_bytes("{\"w\":", "")),
              HasSubstr("header: damaged JSON at byte"));
  EXPECT_THAT(error_of(safetensors_bytes("[1]", "")), HasSubstr("header: not a JSON object"));
  EXPECT_THAT(error_of(safetensors_bytes(std::string(100'000, '['), "")),
              HasSubstr("nested deeper"));
}

TEST(Safetensors, RefusesDamagedEntriesNamingTheTensor) {
  struct Case {
    const char* entry;
    const char* message;
  };
  const Case cases[] = {
      {R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})",
       "8 data bytes, but the header describes 16"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})",
       "tensor w: data_offsets 8 and 0 are in the wrong order"},
      {R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})",
       "tensor w: 8 bytes stored, but F32 [3] takes 12"},
      {R"({"dtype":"F99","shape":[2],"data_offsets":[0,8]})", "tensor w: unknown dtype \"F99\""},
      {R"({"dtype":7,"shape":[2],"data_offsets":[0,8]})", "tensor w: unknown dtype 7"},
      {R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", "tensor w: impossible shape [-2]"},
      {R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})", "tensor w: impossible shape 2"},
      {R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})",
       "tensor w: impossible shape [4294967296,4294967296]"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[0]})",
       "tensor w: data_offsets [0] are not two byte positions"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})",
       "tensor w: 18446744073709551615 bytes stored, but F32 [2] takes 8"},
      {R"({"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,0]})",
       "are in the wrong order"},
      {R"({"dtype":"F32","shape":[2]})", "tensor w: data_offsets null are not"},
      {R"([1])", "tensor w: its header entry is not an object"},
  };
  for (const Case& damaged : cases) {
    EXPECT_THAT(error_of(one_tensor(damaged.entry)), HasSubstr(damaged.message));
  }
}

TEST(Safetensors, RefusesOverlappingTensorsAndDuplicateNames) {
  EXPECT_EQ(error_of(safetensors_bytes(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},)"
                                       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                                       "12345678")),
            "tensors a and b overlap");
  EXPECT_EQ(error_of(safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                       R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                                       "12345678")),
            "tensor a stands twice");
}

/// A minute or more if each entry looked at all before it.
TEST(Safetensors, AHeaderOfManyNamesIsReadInATimeThatGrowsWithThem) {
  std::string header = "{";
  for (int i = 0; i < 200'000; ++i) {
    header += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  }
  header.back() = '}';
  const std::string file = safetensors_bytes(header, "");
  const auto begin = std::chrono::steady_clock::now();
  const auto tensors = parse_safetensors(as_bytes(file));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 200'000U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(Safetensors, ANameTooLongToBeRepeatedInMessagesIsRefused) {
  const std::string name(100'000, 'x');
  const std::string error = error_of(safetensors_bytes(
      "{\"" + name + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""));
  EXPECT_THAT(error, HasSubstr("a tensor's name has 100000 bytes: \"xxx"));
  EXPECT_LT(error.size(), 200U);
}

TEST(Safetensors, RefusesBytesThatBelongToNoTensor) {
  const char* one = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})";
  EXPECT_EQ(error_of(safetensors_bytes(one, "123456")),
            "bytes 0 to 2, before tensor a, belong to none");
  const char* two = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                    R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})";
  EXPECT_EQ(error_of(safetensors_bytes(two, "123456")),
            "bytes 2 to 4, before tensor b, belong to none");
  const char* short_one = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  EXPECT_EQ(error_of(safetensors_bytes(short_one, "123456")),
            "6 data bytes, but the header describes 4");
}

TEST(Safetensors, AHeaderAloneIsEnoughWhereTheDataIsOptional) {
  const std::string whole = safetensors_bytes({{"w", "BF16", {2, 2}, "12345678"}});
  const std::string header = whole.substr(0, whole.size() - 8);
  EXPECT_EQ(error_of(header), "0 data bytes, but the header describes 8");
  for (const std::size_t data_bytes : {0U, 3U, 8U}) {
    const std::string file = header + whole.substr(header.size(), data_bytes);
    const auto tensors = parse_safetensors(as_bytes(file), DataPresence::optional);
    ASSERT_TRUE(tensors) << tensors.error().message;
    EXPECT_EQ((*tensors)[0].num_bytes, 8U);
    EXPECT_EQ((*tensors)[0].data != nullptr, data_bytes == 8) << data_bytes;
  }
  EXPECT_FALSE(parse_safetensors(as_bytes(whole + "x"), DataPresence::optional));
}

TEST(Safetensors, AHeaderThatWouldFillMemoryIsRefusedBeforeItIsRead) {
  std::string file = safetensors_bytes("{}", std::string(1 << 20, 'x'));
  file[4] = '\x01';  // announces 4 GiB and a little
  EXPECT_THAT(error_of(file), HasSubstr("header of 4294967298 bytes announced"));
}

TEST(Safetensors, EveryCutAndEveryFlippedByteIsHandled) {
  const std::string whole =
      safetensors_bytes({{"w", "BF16", {2, 2}, "12345678"}, {"v", "F32", {1}, "abcd"}});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string cut = whole.substr(0, length);
    EXPECT_NE(error_of(cut), "no error") << length;
  }
  std::mt19937_64 rng(testing::test_seed());
  for (int i = 0; i < 5000; ++i) {
    std::string flipped = whole;
    flipped[rng() % whole.size()] = static_cast<char>(rng());
    const auto tensors = parse_safetensors(as_bytes(flipped));
    if (!tensors) continue;
    for (const TensorView& tensor : *tensors) {  // what is accepted lies inside the file
      const auto* begin = reinterpret_cast<const std::byte*>(flipped.data());
      ASSERT_GE(tensor.data, begin);
      ASSERT_LE(tensor.data + tensor.num_bytes, begin + flipped.size());
    }
  }
}

}  // namespace
}  // namespace ponder::engine
