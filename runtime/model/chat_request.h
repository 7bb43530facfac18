#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/model/model_client.h"

/// The request of the OpenAI chat-completions protocol, as bytes: no sockets here.
namespace ponder::runtime {

/// How a request is written for an endpoint; what one refuses is left out from then on.
struct RequestForm {
  std::string tokens_max_name = "max_tokens";  // some take max_completion_tokens alone
  std::vector<std::string> left_out = {};      // optional fields, such as temperature and seed
  bool has_live_values = true;
};

/// The body of POST /chat/completions. Reasoning is sent back for the running turn only; live
/// values stand as `enum` in the schemas of their tools. Fails when a tool's parameters are no JSON
/// text.
Result<std::string> chat_request_body(const ModelRequest& request, const std::string& model,
                                      const RequestForm& form = {});

/// What to try after an endpoint refused the request in these words: the other name for the limit,
/// or without an optional field, if the words name it; else without live values. Nothing when there
/// is no more to leave out.
std::optional<RequestForm> milder_form(const RequestForm& form, const ModelRequest& request,
                                       std::string_view refusal);

/// What was left out, for the log; empty when nothing was.
std::string omissions(const RequestForm& form);

}  // namespace ponder::runtime
