// The engine with its model on a device, here the emulated one.

#include "kernels/cuda/emulator/emulated_device.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

class DeviceEngine : public EngineTraffic {
 protected:
  std::unique_ptr<Engine> open_on_device(std::uint32_t num_drafts = 0,
                                         std::uint64_t num_pages = 24) {
    EngineOptions options;
    options.device = &kernels::emulated_device();
    options.draft_tokens_max = num_drafts;
    return open(num_pages, 64, options);
  }
};

TEST_F(DeviceEngine, DraftsChangeNoToken) {
  const Outcome plain = run(*open_on_device(), request(prompt(68, 7), 5));
  const Outcome drafted = run(*open_on_device(2), request(prompt(68, 7), 5));
  EXPECT_GT(drafted.stats.tokens_drafted, 0U);
  EXPECT_EQ(drafted.tokens, plain.tokens);
  EXPECT_TRUE(same_bits(drafted.logits, plain.logits));
}

}  // namespace
}  // namespace ponder::engine
