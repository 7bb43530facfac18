#include "engine/generation_request.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace ponder::engine {
namespace {

Status check_sampling(const SamplingParams& params) {
  if (!(params.temperature >= 0.0F) || std::isinf(params.temperature)) {
    return fail(Errc::invalid_argument, fmt::format("temperature: {}", params.temperature));
  }
  if (!(params.top_p > 0.0F && params.top_p <= 1.0F)) {
    return fail(Errc::invalid_argument, fmt::format("top_p: {}", params.top_p));
  }
  if (!(params.repetition_penalty > 0.0F) || std::isinf(params.repetition_penalty)) {
    return fail(Errc::invalid_argument,
                fmt::format("repetition_penalty: {}", params.repetition_penalty));
  }
  for (const auto& [name, value] : {std::pair("frequency_penalty", params.frequency_penalty),
                                    std::pair("presence_penalty", params.presence_penalty)}) {
    if (!std::isfinite(value))
      return fail(Errc::invalid_argument, fmt::format("{}: {}", name, value));
  }
  return {};
}

}  // namespace

Status check_request(const GenerationRequest& request, const ModelConfig& config,
                     const Clock& clock) {
  if (request.tokens_generated_max == 0) {
    return fail(Errc::invalid_argument, "tokens_generated_max: 0");
  }
  PONDER_CHECK(check_ids(request.prompt, config));
  PONDER_CHECK(check_ids(request.stop_tokens, config));
  PONDER_CHECK(check_sampling(request.sampling));
  if (request.deadline.passed(clock)) {
    return fail(Errc::deadline, "the request's deadline has passed");
  }
  return {};
}

Status check_ids(std::span<const TokenId> ids, const ModelConfig& config) {
  const std::size_t vocab_size = config.vocab_size;
  for (const TokenId id : ids) {
    if (id < vocab_size) continue;
    return fail(Errc::invalid_argument,
                fmt::format("token {} is not below vocab_size {}", id, vocab_size));
  }
  return {};
}

Status check_length(std::size_t tokens_prompt, const ModelConfig& config) {
  if (tokens_prompt == 0) return fail(Errc::invalid_argument, "prompt: no tokens");
  if (tokens_prompt < config.max_position_embeddings) return {};
  return fail(Errc::exhausted, fmt::format("the prompt has {} tokens, the model takes {}",
                                           tokens_prompt, config.max_position_embeddings));
}

Status check_ids_fit(const Tokenizer& tokenizer, const ModelConfig& config) {
  if (tokenizer.vocab_size() <= config.vocab_size) return {};
  return fail(Errc::invalid_argument,
              fmt::format("tokenizer.json: ids up to {} do not fit config.json's vocab_size {}",
                          tokenizer.vocab_size() - 1, config.vocab_size));
}

}  // namespace ponder::engine
