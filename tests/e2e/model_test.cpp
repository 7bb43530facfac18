#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "tests/e2e/process.h"

/// `ponder model`, through the front door: a checkpoint is made, inspected, converted, run.
namespace ponder::e2e {
namespace {

using nlohmann::json;

const char* const kConfig = "tests/engine/data/tiny_config.json";

std::string made(const Scratch& scratch, std::vector<std::string> more) {
  const std::string dir = (scratch / "made").string();
  std::vector<std::string> arguments{"model", "random", "--config", kConfig, "--out", dir};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const auto done = ponder(scratch.path(), arguments);
  EXPECT_EQ(done.status, 0) << done.err;
  return dir;
}

json inspected(const Scratch& scratch, const std::string& dir) {
  const auto done =
      ponder(scratch.path(), {"model", "inspect", dir, "--json", "--context", "1000"});
  EXPECT_EQ(done.status, 0) << done.err;
  return json::parse(done.out);
}

TEST(Model, RandomTakesSoManyLayersAndOtherValues) {
  const Scratch scratch;
  const std::string dir = made(scratch, {"--layers", "2", "--set", "n_routed_experts=32", "--set",
                                         "vocab_size=512", "--dtype", "fp8"});
  const json found = inspected(scratch, dir);
  EXPECT_EQ(found.at("num_hidden_layers"), 2);
  EXPECT_EQ(found.at("mtp").at("parameters"), 0);
  // A dense and a MoE layer of the worked model, 16 experts more, 512 tokens instead of 4096.
  EXPECT_EQ(found.at("main").at("parameters"),
            944'128 + 2'029'584 + 16 * (98'304 + 257) + 2 * 512 * 256 + 256);
  EXPECT_EQ(found.at("runs_here"), "yes");
  EXPECT_EQ(found.at("cache_dtype"), "f32");
  EXPECT_EQ(found.at("cache_bytes"), 1000 * 2 * 4 * (128 + 32 + 128));
}

TEST(Model, ConvertedCheckpointsAreSmallerAndRun) {
  const Scratch scratch;
  const std::string dir = made(scratch, {"--dtype", "bf16"});
  const std::string out = (scratch / "int8").string();
  const auto done = ponder(scratch.path(), {"model", "convert", dir, out, "--to", "int8"});
  ASSERT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("matrices as int8"), std::string::npos) << done.out;
  EXPECT_LT(inspected(scratch, out).at("main").at("bytes").get<double>(),
            0.65 * inspected(scratch, dir).at("main").at("bytes").get<double>());
  const auto logits = ponder(scratch.path(), {"logits", "--model", out}, "{\"tokens\":[1,2,3]}\n");
  ASSERT_EQ(logits.status, 0) << logits.err;
  EXPECT_EQ(json::parse(logits.out).at("logits").size(), 4096U);
}

TEST(Model, InspectNamesEveryFaultAndFails) {
  const Scratch scratch;
  const std::string dir = made(scratch, {"--layers", "1"});
  json config = json::parse(read_file(dir + "/config.json"));
  config["hidden_size"] = 384;
  write_file(dir + "/config.json", config.dump());
  const auto done = ponder(scratch.path(), {"model", "inspect", dir});
  EXPECT_EQ(done.status, 1);
  EXPECT_NE(done.out.find("no: 13 faults: tensor model.embed_tokens.weight"), std::string::npos)
      << done.out;
}

TEST(Model, InspectIsContentWithAConfiguration) {
  const Scratch scratch;
  const auto done = ponder(scratch.path(), {"model", "inspect", "tests/engine/data/deepseek_v32"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("671877944064 parameters     674.03 GB"), std::string::npos) << done.out;
}

/// Of a model with so little of it for a token a run keeps it in F32.
TEST(Model, InspectCountsTheCacheThatARunTakes) {
  const Scratch scratch;
  const auto inspect = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"model", "inspect", "engine/models/mini", "--memory", "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto done = ponder(scratch.path(), arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    return done.out;
  };
  const json run = json::parse(inspect({"--json"}));
  const json f32 = json::parse(inspect({"--json", "--cache-dtype", "f32"}));
  const json bf16 = json::parse(inspect({"--json", "--cache-dtype", "bf16"}));
  EXPECT_EQ(run.at("cache_dtype"), "f32");
  EXPECT_EQ(bf16.at("cache_dtype"), "bf16");
  EXPECT_EQ(run.at("run_cache_tokens"), f32.at("run_cache_tokens"));
  EXPECT_EQ(run.at("cache_bytes"), 2 * bf16.at("cache_bytes").get<std::uint64_t>());
  EXPECT_NEAR(run.at("run_cache_tokens").get<double>(),
              bf16.at("run_cache_tokens").get<double>() / 2, 64);
  const std::string text = inspect({});
  EXPECT_NE(text.find("\ncache (f32) "), std::string::npos) << text;
}

TEST(Model, InspectSaysWhatLoadingPacksAndMakes) {
  const Scratch scratch;
  const std::string bf16 = made(scratch, {"--dtype", "bf16"});
  for (const char* format : {"bf16", "int8", "int4-32"}) {
    SCOPED_TRACE(format);
    const bool is_coded = std::string_view(format) != "bf16";
    const std::string dir = is_coded ? (scratch / format).string() : bf16;
    if (is_coded) {
      const auto done = ponder(scratch.path(), {"model", "convert", bf16, dir, "--to", format});
      ASSERT_EQ(done.status, 0) << done.err;
    }
    const json load = inspected(scratch, dir).at("load");
    EXPECT_EQ(load.at("is_copied"), true);
    EXPECT_EQ(load.at("packs_codes"), is_coded);
    EXPECT_EQ(load.at("packs_bf16"), true);
    EXPECT_EQ(load.at("packs_kv_b"), true);
    EXPECT_EQ(load.at("packed_code_bytes").get<double>() > 0, is_coded);
    EXPECT_GT(load.at("made_bytes").get<double>(), load.at("packed_code_bytes").get<double>());
    EXPECT_EQ(load.at("in_place_bytes"), 0);
    // No less than loading is refused below, but for what BF16 matrices save.
    EXPECT_NEAR(
        load.at("made_bytes").get<double>(),
        load.at("needed_bytes").get<double>() -
            (load.at("packed_bf16_bytes").get<double>() + load.at("kv_b_bytes").get<double>()) * 3 /
                13,
        16);
  }
}

/// DeepSeek-V3.2 has few BF16 matrices, above all the head; they are packed where there is room.
TEST(Model, InspectPacksByTheMemoryThatItIsTold) {
  const Scratch scratch;
  const auto inspect = [&](const char* memory, bool is_json) {
    std::vector<std::string> arguments{"model", "inspect", "tests/engine/data/deepseek_v32",
                                       "--memory", memory};
    if (is_json) arguments.emplace_back("--json");
    const auto done = ponder(scratch.path(), arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    return done.out;
  };
  const auto expect_line = [](const std::string& text, const char* line) {
    EXPECT_NE(text.find(line), std::string::npos) << text;
  };
  const std::string roomy = inspect("700", false);
  expect_line(roomy, "\nmade at the start      3.81 GB\n");
  expect_line(roomy,
              "\nof it packed           BF16 matrices to some 1.55 GB, kv_b to some 1.66 GB\n");
  const std::string tight = inspect("7", false);
  expect_line(tight, "\nmade at the start      2.26 GB\n");
  expect_line(
      tight,
      "\nof it packed           kv_b to some 1.66 GB, no BF16 matrices: with all packed 3.81 "
      "GB would be made, more than half of the 7.00 GB available\n");
  const json packed = json::parse(inspect("700", true)).at("load");
  const json unpacked = json::parse(inspect("7", true)).at("load");
  EXPECT_EQ(packed.at("packs_bf16"), true);
  EXPECT_EQ(unpacked.at("packs_bf16"), false);
  EXPECT_EQ(packed.at("made_bytes").get<std::uint64_t>(),
            unpacked.at("made_bytes").get<std::uint64_t>() +
                packed.at("packed_bf16_bytes").get<std::uint64_t>());
  EXPECT_GT(unpacked.at("in_place_bytes"), packed.at("in_place_bytes"));
  // What loading itself would say.
  expect_line(inspect("2", false), "no: loading takes 2.64 GB of memory, 2.00 GB are available\n");
}

TEST(Model, InspectSaysWhatAGpuWouldHold) {
  const Scratch scratch;
  const auto inspect = [&](std::vector<std::string> more, const char* memory = "700") {
    std::vector<std::string> arguments{"model",    "inspect", "tests/engine/data/deepseek_v32",
                                       "--memory", memory,    "--gpu-memory",
                                       "80"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto done = ponder(scratch.path(), arguments);
    EXPECT_EQ(done.status, 0) << done.err;
    return done.out;
  };
  const std::string some = inspect({});
  EXPECT_NE(some.find("on a GPU               22.43 GB for weights, "), std::string::npos) << some;
  EXPECT_NE(some.find("654.07 GB for routed experts of 58 layers"), std::string::npos) << some;
  EXPECT_NE(some.find("routed experts of layers 3..6 (45.11 GB) on the GPU, of layers 7..60 "
                      "(608.96 GB) in host memory"),
            std::string::npos)
      << some;
  const json none = json::parse(inspect({"--experts", "host", "--json"}));
  EXPECT_EQ(none.at("gpu").at("experts_bytes"), 58 * std::uint64_t{256} * 44'050'944);
  EXPECT_EQ(none.at("gpu").at("plan").get<std::string>().find(
                "routed experts of layers 3..60 (654.07 GB) in host memory"),
            0U);
  // Keys' matrices once more, turned; keys and values of 43 heads and 2,048 positions.
  const json expanded =
      json::parse(inspect({"--experts", "host", "--prompt-attention", "expanded", "--json"}));
  const auto more = [&](const char* what) {
    return expanded.at("gpu").at(what).get<double>() - none.at("gpu").at(what).get<double>();
  };
  EXPECT_EQ(more("weight_bytes"), 61.0 * 128 * 128 * 512 * 2);
  EXPECT_NEAR(more("workspace_bytes"), 43.0 * 4'718'592 + 2048 * 576 * 4, 300e3);
  const std::string all = inspect({"--experts", "device"});
  EXPECT_NE(all.find("such a GPU: no memory for 682."), std::string::npos) << all;
  // The cache is that of a run on such a machine, whatever the context.
  EXPECT_NE(some.find("a run's cache          4.29 GB for 49984 tokens"), std::string::npos)
      << some;
  EXPECT_NE(some.find(", 4.29 GB for the cache, "), std::string::npos) << some;
  EXPECT_NE(some.find("runs here              yes: "), std::string::npos) << some;
  const json small = json::parse(inspect({"--json", "--context", "4096"}, "8"));
  EXPECT_EQ(small.at("run_cache_tokens"), 363 * 64);
  EXPECT_EQ(small.at("cache_bytes"), 4096 * 85'888);
  EXPECT_EQ(small.at("runs_here"), "no");
  const std::string drafting = inspect({"--drafts", "2"});
  EXPECT_NE(drafting.find("routed experts of 59 layers"), std::string::npos) << drafting;
  EXPECT_NE(drafting.find("of layers 7..61 ("), std::string::npos) << drafting;
}

TEST(Model, MistakesEndInOneLine) {
  const Scratch scratch;
  const auto no_value = ponder(scratch.path(), {"model", "random", "--config", kConfig, "--out",
                                                (scratch / "x").string(), "--set", "vocab_size"});
  EXPECT_EQ(no_value.status, 1);
  EXPECT_EQ(no_value.err, "ponder: error: --set vocab_size: not KEY=VALUE\n");
  const auto on_cpu = ponder(scratch.path(), {"logits", "--model", "engine/models/mini",
                                              "--prompt-attention", "expanded"});
  EXPECT_EQ(on_cpu.status, 1);
  EXPECT_EQ(on_cpu.err,
            "ponder: error: prompt attention: expanded is computed on a GPU alone, and the device "
            "is cpu\n");
  const auto placed =
      ponder(scratch.path(), {"logits", "--model", "engine/models/mini", "--experts", "host"});
  EXPECT_EQ(placed.status, 1);
  EXPECT_EQ(placed.err,
            "ponder: error: experts: host is a placement beside a GPU, and the device is cpu\n");
  const auto drafting = ponder(
      scratch.path(), {"model", "inspect", "tests/engine/data/deepseek_v32", "--drafts", "9"});
  EXPECT_EQ(drafting.status, 1);
  EXPECT_EQ(drafting.err, "ponder: error: draft_tokens_max: 9 is more than 8\n");
  const auto nowhere = ponder(scratch.path(), {"model", "inspect", "/nonexistent"});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_NE(nowhere.err.find("/nonexistent/config.json: cannot open"), std::string::npos);
}

}  // namespace
}  // namespace ponder::e2e
