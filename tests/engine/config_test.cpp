#include "engine/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

json deepseek() {
  return json::parse(testing::read_file("tests/engine/data/deepseek_v32/config.json"));
}
json tiny() { return json::parse(testing::tiny_config_json()); }

json glm() {
  json config = tiny();
  config["architectures"] = {"GlmMoeDsaForCausalLM"};
  config["model_type"] = "glm_moe_dsa";
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_theta", 8000000}, {"rope_type", "default"}};
  config["rms_norm_eps"] = 1e-5;
  config["eos_token_id"] = {20, 27, 29};
  return config;
}

ModelConfig parsed(const json& config) {
  auto result = parse_config(config.dump());
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : ModelConfig{};
}

std::string error_of(const json& config) {
  const auto result = parse_config(config.dump());
  return result ? "no error" : result.error().message;
}

/// f for a full indexer, s for a shared one; the MTP layer last.
std::string schedule(const ModelConfig& config) {
  std::string text;
  for (const auto& layer : config.layers) text += layer.indexer == IndexerKind::full ? 'f' : 's';
  return text;
}

TEST(Config, ReadsTheConfigOfDeepSeekV32) {
  const ModelConfig config = parsed(deepseek());
  EXPECT_EQ(config.architecture, Architecture::deepseek_v32);
  EXPECT_EQ(config.vocab_size, 129280U);
  EXPECT_EQ(config.hidden_size, 7168U);
  EXPECT_EQ(config.num_hidden_layers, 61U);
  EXPECT_EQ(config.num_nextn_predict_layers, 1U);
  EXPECT_EQ(config.num_attention_heads, 128U);
  EXPECT_EQ(config.q_lora_rank, 1536U);
  EXPECT_EQ(config.kv_lora_rank, 512U);
  EXPECT_EQ(config.qk_nope_head_dim, 128U);
  EXPECT_EQ(config.qk_rope_head_dim, 64U);
  EXPECT_EQ(config.v_head_dim, 128U);
  EXPECT_EQ(config.index_n_heads, 64U);
  EXPECT_EQ(config.index_head_dim, 128U);
  EXPECT_EQ(config.index_topk, 2048U);
  EXPECT_EQ(config.intermediate_size, 18432U);
  EXPECT_EQ(config.moe_intermediate_size, 2048U);
  EXPECT_EQ(config.first_k_dense_replace, 3U);
  EXPECT_EQ(config.n_routed_experts, 256U);
  EXPECT_EQ(config.n_shared_experts, 1U);
  EXPECT_EQ(config.num_experts_per_tok, 8U);
  EXPECT_EQ(config.n_group, 8U);
  EXPECT_EQ(config.topk_group, 4U);
  EXPECT_TRUE(config.norm_topk_prob);
  EXPECT_EQ(config.routed_scaling_factor, 2.5);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.max_position_embeddings, 163840U);
  EXPECT_EQ(config.bos_token_id, 0U);
  EXPECT_THAT(config.eos_token_id, ElementsAre(1U));
  ASSERT_TRUE(config.quantization_config);
  EXPECT_EQ(config.quantization_config->scale_fmt, "ue8m0");
  EXPECT_THAT(config.unknown_keys, ElementsAre("ep_size"));
}

TEST(Config, DescribesTheLayersOfDeepSeekV32) {
  const ModelConfig config = parsed(deepseek());
  ASSERT_EQ(config.layers.size(), 62U);
  LayerDescriptor layer;
  EXPECT_EQ(config.layers[2], layer);
  layer.ffn = FfnKind::moe;
  EXPECT_EQ(config.layers[3], layer);
  EXPECT_EQ(config.layers[60], layer);
  layer.is_mtp = true;
  EXPECT_EQ(config.layers[61], layer);
  EXPECT_EQ(layer.indexer_rope_layout, RopeLayout::half_split);
  EXPECT_EQ(layer.rope_layout, RopeLayout::interleaved);
}

TEST(Config, DerivesScalesAndFrequenciesOfDeepSeekV32) {
  const ModelConfig config = parsed(deepseek());
  EXPECT_DOUBLE_EQ(config.softmax_scale, 0.1352337788608801);
  EXPECT_DOUBLE_EQ(config.indexer_scale, 0.011048543456039806);
  EXPECT_EQ(config.rope_amplitude, 1.0);
  EXPECT_THAT(
      config.inv_freq,
      ElementsAre(1.0F, 0.749894202F, 0.562341332F, 0.421696514F, 0.316227764F, 0.237137362F,
                  0.177827939F, 0.133352146F, 0.100000001F, 0.0749894157F, 0.0562341288F,
                  0.0390069261F, 0.0268793609F, 0.0183781441F, 0.012447956F, 0.0083345091F,
                  0.00550000044F, 0.00356199732F, 0.00224936521F, 0.00137051346F, 0.000790569407F,
                  0.000414990413F, 0.00017782794F, 3.33380376e-05F, 2.50000012e-05F,
                  1.87473543e-05F, 1.40585325e-05F, 1.05424124e-05F, 7.90569447e-06F,
                  5.9284348e-06F, 4.44569832e-06F, 3.33380376e-06F));
}

TEST(Config, DerivesScalesAndFrequenciesOfTheTinyModel) {
  const ModelConfig config = parsed(tiny());
  EXPECT_DOUBLE_EQ(config.softmax_scale, 0.13232112898211335);
  EXPECT_THAT(config.inv_freq,
              ElementsAre(1.0F, 0.562341332F, 0.316227764F, 0.158774942F, 0.0785714313F,
                          0.0381588712F, 0.0180701576F, 0.00825629756F, 0.00357142836F,
                          0.00140585331F, 0.000790569466F, 0.000444569858F, 0.000250000012F,
                          0.000140585325F, 7.90569466e-05F, 4.44569851e-05F));
}

TEST(Config, ReadsTheNewRopeFormAndGlmDefaults) {
  const ModelConfig config = parsed(glm());
  EXPECT_EQ(config.architecture, Architecture::glm_moe_dsa);
  EXPECT_EQ(config.rope_theta, 8000000.0);
  EXPECT_FALSE(config.rope_scaling);
  EXPECT_DOUBLE_EQ(config.softmax_scale, 1.0 / std::sqrt(96.0));
  EXPECT_EQ(config.lora_norm_eps, 1e-5);
  EXPECT_THAT(config.eos_token_id, ElementsAre(20U, 27U, 29U));
  EXPECT_EQ(config.layers[0].indexer_rope_layout, RopeLayout::interleaved);
}

TEST(Config, BothRopeFormsMeanTheSame) {
  json renewed = tiny();
  renewed["rope_parameters"] = renewed["rope_scaling"];
  renewed["rope_parameters"]["rope_type"] = renewed["rope_parameters"]["type"];
  renewed["rope_parameters"].erase("type");
  renewed["rope_parameters"]["rope_theta"] = renewed["rope_theta"];
  renewed.erase("rope_scaling");
  renewed.erase("rope_theta");
  EXPECT_EQ(parsed(renewed).inv_freq, parsed(tiny()).inv_freq);
  EXPECT_EQ(parsed(renewed).softmax_scale, parsed(tiny()).softmax_scale);
}

TEST(Config, IndexerScheduleComesFromTypesThenPatternThenFrequency) {
  json config = glm();
  config["num_hidden_layers"] = 11;
  config["index_topk_freq"] = 4;
  config["index_skip_topk_offset"] = 3;
  EXPECT_EQ(schedule(parsed(config)), "fffsssfsssff");
  config["index_topk_pattern"] = "FSFSFSFSFSF";
  EXPECT_EQ(schedule(parsed(config)), "fsfsfsfsfsff");
  config["indexer_types"] = {"full", "full", "full", "full", "full",  "full",
                             "full", "full", "full", "full", "shared"};
  EXPECT_EQ(schedule(parsed(config)), "ffffffffffsf");
}

TEST(Config, LayerTypesWinOverTheDensePrefix) {
  json config = tiny();
  config["mlp_layer_types"] = {"sparse", "dense", "dense", "dense", "dense", "sparse"};
  const ModelConfig model = parsed(config);
  EXPECT_EQ(model.layers[0].ffn, FfnKind::moe);
  EXPECT_EQ(model.layers[1].ffn, FfnKind::dense);
  EXPECT_EQ(model.layers[5].ffn, FfnKind::moe);
}

TEST(Config, ReportsUnknownKeysAndIgnoresHeadDim) {
  json config = tiny();
  config["head_dim"] = 192;
  config["layer_types"] = json::array({"a"});
  config["zeta"] = 1;
  EXPECT_THAT(parsed(config).unknown_keys, ElementsAre("layer_types", "zeta"));
  EXPECT_EQ(parsed(config).qk_head_dim(), 96U);
}

TEST(Config, NamesEveryMissingField) {
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "q_lora_rank",
        "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "index_n_heads",
        "index_head_dim", "index_topk", "max_position_embeddings", "rms_norm_eps",
        "intermediate_size", "rope_theta", "eos_token_id"}) {
    json config = tiny();
    config.erase(key);
    EXPECT_EQ(error_of(config), std::string(key) + ": missing");
  }
}

struct BadValue {
  const char* key;
  const char* value;  // JSON
  const char* message;
};

TEST(Config, RefusesImpossibleValuesNamingFieldAndValue) {
  const BadValue cases[] = {
      {"hidden_size", "0", "hidden_size: 0 is not a whole number from 1 to 1048576"},
      {"hidden_size", "-5", "hidden_size: -5 is not"},
      {"hidden_size", "\"big\"", "hidden_size: \"big\" is not"},
      {"hidden_size", "256.5", "hidden_size: 256.5 is not"},
      {"vocab_size", "99999999999", "vocab_size: 99999999999 is not"},
      {"q_lora_rank", "null", "q_lora_rank: is null, but the model cannot do without it"},
      {"qk_rope_head_dim", "33", "qk_rope_head_dim: 33 is odd"},
      {"index_head_dim", "96", "index_head_dim: 96 is not a power of two"},
      {"index_head_dim", "16", "index_head_dim: 16 is not a power of two from qk_rope_head_dim 32"},
      {"n_group", "3", "n_group: 3 does not divide n_routed_experts 16"},
      {"n_group", "16", "n_group: 16 leaves groups of fewer than two experts"},
      {"topk_group", "5", "topk_group: 5 is above n_group 4"},
      {"num_experts_per_tok", "9", "num_experts_per_tok: 9 is not from 1 to the 8 experts"},
      {"num_experts_per_tok", "0", "num_experts_per_tok: 0 is not from 1"},
      {"scoring_func", "\"softmax\"", "scoring_func: \"softmax\" is not supported; known: sigmoid"},
      {"topk_method", "\"greedy\"", "topk_method: \"greedy\" is not supported; known: noaux_tc"},
      {"hidden_act", "\"gelu\"", "hidden_act: \"gelu\" is not supported; known: silu"},
      {"attention_bias", "true", "attention_bias: true is not supported"},
      {"norm_topk_prob", "1", "norm_topk_prob: 1 is neither true nor false"},
      {"rms_norm_eps", "0", "rms_norm_eps: 0 is not a number above 0"},
      {"rms_norm_eps", "1e300", "rms_norm_eps: 1e+300 is beyond the range of fp32"},
      {"rms_norm_eps", "1e-320", "rms_norm_eps: 1e-320 is beyond the range of fp32"},
      {"routed_scaling_factor", "1e308", "routed_scaling_factor: 1e+308 is beyond the range"},
      {"rope_scaling",
       R"({"type":"yarn","factor":4,"original_max_position_embeddings":9,"mscale_all_dim":1e38})",
       "rope_scaling: its values give frequencies or scales beyond the range of fp32"},
      {"rope_theta", "1", "rope_theta: 1 is not above 1"},
      {"architectures", "7", "architectures: 7 is not a list"},
      {"index_topk_pattern", "true", "index_topk_pattern: true is not a list"},
      {"rope_scaling", "{\"type\":\"linear\"}",
       "rope_scaling.type: \"linear\" is not supported; known: default, yarn"},
      {"rope_scaling", "{\"type\":\"yarn\"}", "rope_scaling.factor: missing"},
      {"rope_scaling", "7", "rope_scaling: 7 is not an object"},
      {"eos_token_id", "4096", "eos_token_id: 4096 is not a token id below vocab_size 4096"},
      {"eos_token_id", "[]", "eos_token_id: an empty list"},
      {"bos_token_id", "5000", "bos_token_id: 5000 is not a whole number from 0 to 4095"},
      {"indexer_types", "[\"full\"]", "indexer_types: has 1 entries for 6 layers"},
      {"index_topk_pattern", "\"SFFFFF\"", "index_topk_pattern: layer 0 shares"},
      {"mlp_layer_types", "[\"x\",\"x\",\"x\",\"x\",\"x\",\"x\"]",
       "mlp_layer_types: \"x\" is neither dense nor sparse"},
      {"torch_dtype", "\"int3\"", "torch_dtype: \"int3\" is not supported"},
      {"quantization_config", "{\"weight_block_size\":[64,64]}",
       "quantization_config.weight_block_size: [64,64] is not supported"},
      {"quantization_config", "{\"quant_method\":\"awq\"}",
       "quantization_config.quant_method: \"awq\" is not supported; known: fp8"},
  };
  for (const BadValue& bad : cases) {
    json config = tiny();
    config[bad.key] = json::parse(bad.value);
    EXPECT_THAT(error_of(config), StartsWith(bad.message));
  }
}

/// Looking at a checkpoint takes time and memory for each expert that its config asks for.
TEST(Config, RefusesMoreExpertsThanAllLayersOfAnyModelHave) {
  json config = tiny();
  config.update({{"num_hidden_layers", 4096}, {"n_routed_experts", 1024}});
  EXPECT_EQ(error_of(config),
            "n_routed_experts: 1024 in each of 4096 layers are more than 1048576 experts");
  config["num_hidden_layers"] = 1000;
  EXPECT_EQ(error_of(config), "no error");
}

TEST(Config, NoRowSelectsMoreKeysThanItCanSee) {
  json config = tiny();
  config["index_topk"] = 1 << 24;
  EXPECT_EQ(parse_config(config.dump())->index_topk, 4096U);  // max_position_embeddings
}

TEST(Config, RefusesAnUnknownArchitectureWithTheKnownOnes) {
  json config = tiny();
  config["architectures"] = {"LlamaForCausalLM"};
  config["model_type"] = "llama";
  EXPECT_EQ(error_of(config),
            "architectures: unknown architecture \"LlamaForCausalLM\"; known: "
            "DeepseekV32ForCausalLM (deepseek_v32), GlmMoeDsaForCausalLM (glm_moe_dsa)");
  config.erase("architectures");
  config.erase("model_type");
  EXPECT_THAT(error_of(config), StartsWith("architectures: missing; known: "));
}

TEST(Config, DamagedTextIsAnErrorWithItsPlace) {
  const auto result = parse_config(R"({"vocab_size": 4096,)");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::corrupt);
  EXPECT_EQ(result.error().message, "damaged JSON at byte 21");
  EXPECT_EQ(parse_config("[]").error().message, "not a JSON object");
  const std::string deep(200'000, '[');
  EXPECT_EQ(parse_config(deep).error().message, "JSON nested deeper than 64 levels");
}

TEST(Config, LoadingNamesTheFile) {
  const testing::TempDir dir;
  const auto missing = load_config(dir.path());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr((dir.path() / "config.json").string()));
  testing::write_file(dir.path() / "config.json", "{");
  EXPECT_EQ(load_config(dir.path()).error().message,
            (dir.path() / "config.json").string() +
                ": damaged JSON at byte 2; download or export this file again");
  testing::write_file(dir.path() / "config.json", tiny().dump());
  EXPECT_TRUE(load_config(dir.path()));
  std::filesystem::resize_file(dir.path() / "config.json", std::uintmax_t{1} << 36);
  EXPECT_THAT(load_config(dir.path()).error().message,
              HasSubstr("config.json: 68719476736 bytes of JSON, at most 268435456"));
}

}  // namespace
}  // namespace ponder::engine
