#pragma once

#include <cstdint>
#include <string>

#include "runtime/cli/commands.h"

namespace CLI {
class App;
}

/// Options that several commands take; each is added under the same name and with the same words
/// everywhere. What they write to outlives the command.
namespace ponder::cli {

void add_index_keys_option(CLI::App& command, std::string& index_keys);
void add_cache_dtype_option(CLI::App& command, std::string& cache_dtype);
void add_device_option(CLI::App& command, std::string& device);
void add_experts_option(CLI::App& command, std::string& experts);
void add_prompt_attention_option(CLI::App& command, std::string& attention);
void add_drafts_option(CLI::App& command, std::uint32_t& num_drafts);
void add_activations_option(CLI::App& command, std::string& activations);
void add_model_options(CLI::App& command, ModelOptions& options);
/// The same without cache pages on disk, for measurements: what an earlier run left there would not
/// be computed.
void add_measured_model_options(CLI::App& command, ModelOptions& options);
void add_context_options(CLI::App& command, ContextLimits& limits);
void add_approve_option(CLI::App& command, std::string& approve);
void add_money_options(CLI::App& command, MoneyOptions& options);
void add_budget_options(CLI::App& command, BudgetOptions& options);
void add_agents_option(CLI::App& command, std::uint32_t& depth_max);
void add_world_options(CLI::App& command, std::uint64_t& seed, std::string& size);
void add_project_options(CLI::App& command, ProjectOptions& project);
/// --sandbox and --readable, for commands whose project is not given by add_project_options.
void add_sandbox_options(CLI::App& command, ProjectOptions& project);

}  // namespace ponder::cli
